package client

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
)

func TestErrorsAreTyped(t *testing.T) {
	t.Parallel()
	for _, row := range interfaces.Errors {
		c := serveRaw(t, replying(`{"error": "`+row.Varlink+`", "parameters": {}}`))
		if _, err := c.Get(t.Context(), "x"); !errors.Is(err, row.Err) {
			t.Errorf("%s comes back as %v", row.Varlink, err)
		}
	}
}

func TestErrorsCarryTheirParameters(t *testing.T) {
	t.Parallel()
	c := serveRaw(t, replying(`{"error": "io.tripleo.Sidecar.ArgumentNotAllowed", "parameters": {"index": 3, "argument": "--x", "reason": "because"}}`))
	_, err := c.Launch(t.Context(), interfaces.LaunchParameters{})
	var got *interfaces.ArgumentNotAllowedError
	if !errors.As(err, &got) {
		t.Fatalf("got %v", err)
	}
	want := &interfaces.ArgumentNotAllowedError{Index: 3, Argument: "--x", Reason: "because"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestErrorOfUnknownName(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ reply, message string }{
		"with parameters":    {`{"error": "a.b.C", "parameters": {"x":1}}`, `the service answered error "a.b.C" {"x":1}`},
		"without parameters": {`{"error": "a.b.C"}`, `the service answered error "a.b.C"`},
		"another name too":   {`{"error": "a.b.C", "Error": ""}`, `the service answered error "a.b.C"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := serveRaw(t, replying(test.reply))
			err := c.Signal(t.Context(), interfaces.SignalParameters{})
			var unknown *UnknownError
			if !errors.As(err, &unknown) || unknown.Name != "a.b.C" || err.Error() != test.message {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestErrorForAnIDIsNotAnEmptyList(t *testing.T) {
	t.Parallel()
	c := serveRaw(t, replying(`{"error": "io.tripleo.Sidecar.NoSuchSidecar", "parameters": {"id": "x"}}`))
	got, err := c.List(t.Context(), interfaces.ListParameters{ID: new("x")})
	if !errors.Is(err, interfaces.ErrNoSuchSidecar) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestErrorAfterSomeRepliesIsNotAShortList(t *testing.T) {
	t.Parallel()
	c := serveRaw(t, replying(`{"continues": true, "parameters": {"sidecar": {"id": "1"}}}`, `{"error": "io.tripleo.Sidecar.HostFailure", "parameters": {"reason": "r"}}`))
	got, err := c.List(t.Context(), interfaces.ListParameters{})
	if got != nil || !errors.Is(err, interfaces.ErrHostFailure) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestErrorOfAnswersThatAreNone(t *testing.T) {
	t.Parallel()
	for name, reply := range map[string]string{
		"not JSON":            "hello",
		"not an object":       "[]",
		"wrong type":          `{"parameters": {"sidecar": 1}}`,
		"unasked for more":    `{"continues": true, "parameters": {}}`,
		"a reply without end": strings.Repeat("x", maxReply+1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := serveRaw(t, replying(reply))
			if _, err := c.Get(t.Context(), "x"); !errors.Is(err, ErrProtocol) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestErrorWhenTheServiceHangsUp(t *testing.T) {
	t.Parallel()
	for name, handle := range map[string]func(net.Conn){
		"at once":           func(net.Conn) {},
		"after the request": replying(),
		"within a reply": func(conn net.Conn) {
			_, _ = bufio.NewReader(conn).ReadString(0)
			_, _ = conn.Write([]byte(`{"para`))
		},
		"between two replies": replying(`{"continues": true, "parameters": {"sidecar": {"id": "1"}}}`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := serveRaw(t, handle)
			got, err := c.List(t.Context(), interfaces.ListParameters{})
			if got != nil || !errors.Is(err, ErrInterrupted) {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func TestErrorThatIsAnsweredBeforeTheRequestIsRead(t *testing.T) {
	t.Parallel()
	c := serveRaw(t, func(conn net.Conn) {
		_, _ = io.CopyN(io.Discard, conn, 1000)
		_, _ = conn.Write([]byte(`{"error": "io.tripleo.Sidecar.Overloaded", "parameters": {"reason": "too long"}}` + "\x00"))
	})
	arguments := []string{strings.Repeat("x", 8<<20)}
	_, err := c.Launch(t.Context(), interfaces.LaunchParameters{Arguments: arguments})
	if !errors.Is(err, interfaces.ErrOverloaded) {
		t.Errorf("got %v", err)
	}
}

func TestErrorOfACallThatIsTooLong(t *testing.T) {
	t.Parallel()
	c := serveRaw(t, func(conn net.Conn) { _, _ = io.CopyN(io.Discard, conn, maxRequest) })
	err := c.Signal(t.Context(), interfaces.SignalParameters{ID: strings.Repeat("x", maxRequest)})
	if !errors.Is(err, ErrInterrupted) || !strings.Contains(err.Error(), "more than the service takes") {
		t.Errorf("got %v", err)
	}
}

func TestErrorWithoutAService(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		path func(t *testing.T) string
		is   error
		hint string
	}{
		"no socket":      {socketPath, os.ErrNotExist, "is sidecard running"},
		"nobody listens": {leftOver, syscall.ECONNREFUSED, "systemctl status sidecard"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, test.path(t))
			_, err := c.Info(t.Context())
			var unreachable *UnreachableError
			if !errors.As(err, &unreachable) || !errors.Is(err, test.is) {
				t.Fatalf("got %v", err)
			}
			if !strings.Contains(err.Error(), test.hint) || strings.Count(err.Error(), unreachable.Address) != 1 {
				t.Errorf("message: %v", err)
			}
		})
	}
}

func TestErrorWithoutTheRightToConnect(t *testing.T) {
	t.Parallel()
	err := &UnreachableError{Address: "unix:/x", Err: syscall.EACCES}
	if !strings.Contains(err.Error(), "root") {
		t.Errorf("message: %v", err)
	}
	if err := (&UnreachableError{Address: "unix:/x", Err: syscall.ENOTSOCK}); err.Hint() != "" || strings.HasSuffix(err.Error(), "; ") {
		t.Errorf("message: %v", err)
	}
}

// leftOver returns the path of a socket that nobody listens on any more.
func leftOver(t *testing.T) string {
	path := socketPath(t)
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	_ = listener.Close()
	return path
}
