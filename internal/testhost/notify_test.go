package testhost

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// contextWithTimeout is a context of the test that ends early.
func contextWithTimeout(t *testing.T, timeout time.Duration) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), timeout)
}

// notifyPair returns a listening socket and a connection to it.
func notifyPair(t *testing.T) (server, client *net.UnixConn) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "n")
	server, err := listenNotify(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	client, err = net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return server, client
}

func TestNotifyWaitsForLeaderAndReady(t *testing.T) {
	t.Parallel()
	server, client := notifyPair(t)
	for _, message := range []string{
		"STATUS=Container running.\nX_NSPAWN_LEADER_PID=4711", "STATUS=Booting", "READY=0", "READY=1\n",
	} {
		if _, err := client.Write([]byte(message)); err != nil {
			t.Fatal(err)
		}
	}
	leader, err := awaitReady(t.Context(), server, nil)
	if leader != 4711 || err != nil {
		t.Errorf("leader %d, error %v; want 4711 and none", leader, err)
	}
}

func TestNotifyGivesUp(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	close(ended)
	tests := map[string]struct {
		done    chan struct{}
		timeout time.Duration
		want    string
	}{
		"host ended": {ended, time.Minute, "ended while booting"},
		"time is up": {nil, 50 * time.Millisecond, "deadline exceeded"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, client := notifyPair(t)
			if _, err := client.Write([]byte("X_NSPAWN_LEADER_PID=7")); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := contextWithTimeout(t, test.timeout)
			defer cancel()
			_, err := awaitReady(ctx, server, test.done)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v does not say %q", err, test.want)
			}
		})
	}
}

func FuzzReadinessUpdate(f *testing.F) {
	f.Add("READY=1\nX_NSPAWN_LEADER_PID=1")
	f.Add("READY\n=\n\x00")
	f.Fuzz(func(t *testing.T, message string) {
		var state readiness
		state.update(message)
		if state.ready && !strings.Contains(message, "READY=1") {
			t.Errorf("ready by %q", message)
		}
	})
}
