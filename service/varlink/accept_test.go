package varlink

import (
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

// failing is a listener whose accept fails in every way that errno(3) has, and then
// is closed.
type failing struct {
	errno unix.Errno
	times []time.Time
}

func (f *failing) AcceptUnix() (*net.UnixConn, error) {
	f.times = append(f.times, time.Now())
	if f.errno++; f.errno > 133 {
		return nil, net.ErrClosed
	}
	return nil, &net.OpError{Op: "accept", Net: "unix", Err: os.NewSyscallError("accept4", f.errno)}
}

func (f *failing) waiting() bool { return false }

// TestHardeningAcceptGoesOnAfterEveryError shows that no errno ends the accept loop,
// and that the pause between two tries stays bounded.
func TestHardeningAcceptGoesOnAfterEveryError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, err := NewServer(Config{Interface: Interface{interfaces.Name, interfaces.Description, methods(nil)}})
		if err != nil {
			t.Fatal(err)
		}
		l := &failing{}
		server.accept(t.Context(), l, "agent")
		if l.errno != 134 {
			t.Errorf("it ended after errno %d", l.errno)
		}
		for i := 1; i < len(l.times); i++ {
			if pause := l.times[i].Sub(l.times[i-1]); pause < acceptPauseMin || pause > acceptPauseMax {
				t.Errorf("%v between two tries, want %v to %v", pause, acceptPauseMin, acceptPauseMax)
			}
		}
	})
}
