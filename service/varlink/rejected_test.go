package varlink

import (
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/service"
)

// TestMetricsVarlinkRejections: a call that no Handler sees is counted once. A refusal of a Handler is
// not counted, nor a call of org.varlink.service, nor a peer whose credentials cannot be had.
func TestMetricsVarlinkRejections(t *testing.T) {
	t.Parallel()
	s := newServing(t, Limits{ConnectionsPerUID: 1, MessageBytes: 1000})
	for call, want := range map[string]service.Rejection{
		method("NoSuchMethod"): service.RejectedAsUnknown,
		`{"method":"io.tripleo.Sidecar.Fail","parameters":{"number":"x"}}`: service.RejectedAsMalformed,
		`{"method":"io.tripleo.Sidecar.Stream"}`:                           service.RejectedAsMalformed,
		`{"method":"io.tripleo.Sidecar.Fail","upgrade":true}`:              service.RejectedAsMalformed,
		`{"method":1}`:                                   service.RejectedAsMalformed,
		`{"method":"io.tripleo.Nothing.Fail"}`:           service.RejectedAsUnknown,
		`{"method":"org.varlink.service.Nothing"}`:       service.RejectedAsUnknown,
		`{"method":"Fail"}`:                              service.RejectedAsMalformed,
		`{"method":"` + strings.Repeat("x", 2000) + `"}`: service.RejectedByLimit,
	} {
		c := s.dial(t)
		c.send(call)
		if got := receive(t, s.rejected); got != want {
			t.Errorf("%.60s is counted as %s, want %s", call, got, want)
		}
		c.Close()
	}
	host := s.listen(t, "")
	first := dial(t, host)
	first.alive()
	dial(t, host)
	if got := receive(t, s.rejected); got != service.RejectedByLimit {
		t.Errorf("one connection too many is counted as %s", got)
	}
	first.send(`{"method":"io.tripleo.Sidecar.Fail","parameters":{"number":0}}`)
	first.recv()
	first.send(`{"method":"org.varlink.service.GetInfo"}`)
	first.recv()
	s.admit(t.Context(), closedConn(t), "")
	select {
	case got := <-s.rejected:
		t.Errorf("a refusal of a Handler is counted as %s", got)
	default:
	}
}

// closedConn is a connection of which the kernel tells nothing.
func closedConn(t *testing.T) *net.UnixConn {
	t.Helper()
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ends[1])
	file := os.NewFile(uintptr(ends[0]), "")
	defer file.Close()
	c, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	return c.(*net.UnixConn)
}
