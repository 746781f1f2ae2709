package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tripleo.io/sidecar/internal/bounded"
	"tripleo.io/sidecar/service"
	"tripleo.io/sidecar/service/policy"
	"tripleo.io/sidecar/service/varlink"
)

// patience bounds every wait of the tests; none is meant to take that long.
const patience = time.Minute

// manager plays systemd's end of the notification socket.
type manager struct{ *net.UnixConn }

func newManager(t *testing.T) manager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return manager{c}
}

// next returns the first line of a notification and the name in it.
func (m manager) next(t *testing.T) (what, name string) {
	t.Helper()
	if err := m.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	n, err := m.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b[:n])
	what, _, _ = strings.Cut(text, "\n")
	_, name, _ = strings.Cut(text, "FDNAME=")
	return what, name
}

// newListeners returns listeners of one agent that serve, in a directory of their own.
func newListeners(t *testing.T) (*listeners, []*policy.Agent) {
	t.Helper()
	methods := map[string]varlink.Handler{
		"Nothing": varlink.Single(func(context.Context, service.Caller, struct{}) (struct{}, error) { return struct{}{}, nil }),
	}
	server, err := varlink.NewServer(varlink.Config{Interface: varlink.Interface{Name: "io.tripleo.Sidecar", Description: "interface io.tripleo.Sidecar\nmethod Nothing() -> ()\n", Methods: methods}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := openListeners(runtimeDirectory(t), server, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Shutdown(context.Background()) })
	agents := []*policy.Agent{{Name: "agent"}}
	if err := l.set(t.Context(), agents); err != nil {
		t.Fatal(err)
	}
	return l, agents
}

// runtimeDirectory returns a directory on a tmpfs, as /run is: other file systems give
// a new file the inode number of one that was just removed.
func runtimeDirectory(t *testing.T) string {
	t.Helper()
	directory, err := os.MkdirTemp("/dev/shm", "sidecar")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(directory) })
	return directory
}

// answers returns an error if nobody serves the socket of that name.
func (l *listeners) answers(name string) error {
	c, err := net.Dial("unix", l.path(name))
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := c.Write([]byte(`{"method":"io.tripleo.Sidecar.Nothing"}` + "\x00")); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 1))
	return err
}

// TestHardeningListenersAreOpenedAgain shows that a socket whose file was removed or
// replaced, and one whose listener has ended, is served again after a reload, and
// that systemd keeps the new listener instead of the old one.
func TestHardeningListenersAreOpenedAgain(t *testing.T) {
	for cause, spoil := range map[string]func(path string, l listener) error{
		"removed":  func(path string, _ listener) error { return os.Remove(path) },
		"replaced": func(path string, _ listener) error { return replace(path) },
		"ended": func(_ string, l listener) error {
			err := l.Close()
			<-l.ended
			return err
		},
	} {
		for _, name := range []string{hostName, "agent"} {
			t.Run(cause+" "+name, func(t *testing.T) {
				systemd := newManager(t)
				l, agents := newListeners(t)
				kept := map[string]string{}
				for range 2 {
					_, whole := systemd.next(t)
					short, _, _ := strings.Cut(whole, ".")
					kept[short] = whole
				}
				if err := spoil(l.path(name), l.served[name]); err != nil {
					t.Fatal(err)
				}
				if err := l.set(t.Context(), agents); err != nil {
					t.Fatal(err)
				}
				if err := l.answers(name); err != nil {
					t.Errorf("after the reload: %v", err)
				}
				if what, whole := systemd.next(t); what != "FDSTORE=1" || whole == kept[name] {
					t.Errorf("systemd was told %s of %s, want to keep the new one", what, whole)
				}
				if what, whole := systemd.next(t); what != "FDSTOREREMOVE=1" || whole != kept[name] {
					t.Errorf("systemd was told %s of %s, want to drop %s", what, whole, kept[name])
				}
			})
		}
	}
}

// replace puts another socket in the place of the one at path.
func replace(path string) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	other, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return err
	}
	other.SetUnlinkOnClose(false)
	return other.Close()
}

// TestHardeningListenerComesBackByItself shows that a listener that has ended is
// opened again without a reload, and one that was closed on purpose is not.
func TestHardeningListenerComesBackByItself(t *testing.T) {
	newManager(t)
	l, _ := newListeners(t)
	if err := l.served[hostName].Close(); err != nil {
		t.Fatal(err)
	}
	l.reopen(t.Context(), due(t, l))
	if err := l.answers(hostName); err != nil {
		t.Errorf("it did not come back: %v", err)
	}
	if err := l.set(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	l.reopen(t.Context(), due(t, l))
	if _, served := l.served["agent"]; served {
		t.Error("the socket of an agent that has gone was opened again")
	}
}

// due returns what is to be opened again.
func due(t *testing.T, l *listeners) failed {
	t.Helper()
	select {
	case f := <-l.due:
		return f
	case <-time.After(patience):
		t.Fatal("nothing is to be opened again")
		panic("unreachable")
	}
}

// TestHardeningListenerThatIsBoundLate shows that a listener whose file came when nobody
// waited for it any more does not stay in the way of the one that is served.
func TestHardeningListenerThatIsBoundLate(t *testing.T) {
	newManager(t)
	l, _ := newListeners(t)
	l.bindLate(t, "agent")
	l.reopen(t.Context(), due(t, l))
	if err := l.answers("agent"); err != nil {
		t.Errorf("after a listener that was late: %v", err)
	}
}

// bindLate binds a socket when nobody waits for it any more.
func (l *listeners) bindLate(t *testing.T, name string) {
	t.Helper()
	calls := l.calls
	defer func() { l.calls = calls }()
	l.calls = bounded.New(0, 1, maxHanging)
	for range 1000 { // some do not begin, some are quick
		if _, err := l.bind(t.Context(), name); err != nil && strings.Contains(err.Error(), "within") {
			return
		}
	}
	t.Fatal("it was never late")
}

// TestHardeningListenerThatIsBoundLateForNobody shows that the file of a socket that was
// bound late does not stay when its agent has gone meanwhile.
func TestHardeningListenerThatIsBoundLateForNobody(t *testing.T) {
	newManager(t)
	l, _ := newListeners(t)
	if err := l.set(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	l.bindLate(t, "agent")
	for late := false; !late; { // the one that was served has ended, too
		f := due(t, l)
		late = errors.Is(f.err, errLate)
		l.reopen(t.Context(), f)
	}
	if _, err := os.Lstat(l.path("agent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its file is left: %v", err)
	}
}

// TestHardeningListenersThatSystemdKept shows that the host's listener and the agents'
// listeners go on serving, and that the listener of a removed agent is closed.
func TestHardeningListenersThatSystemdKept(t *testing.T) {
	newManager(t)
	l, agents := newListeners(t)
	before := map[string]listener{}
	l.restored = map[string]*net.UnixListener{}
	for _, name := range []string{hostName, "agent", "gone"} {
		kept, err := l.bind(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		delete(l.served, name)
		before[name], l.restored[name] = kept, kept.UnixListener
	}
	if err := l.set(t.Context(), agents); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{hostName, "agent"} {
		if l.served[name].UnixListener != before[name].UnixListener {
			t.Errorf("the listener of %s was not taken over", name)
		}
		if err := l.answers(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Lstat(l.path("gone")); err == nil {
		t.Error("the socket of an agent that has gone is still there")
	}
}

// TestHardeningListenersOfAnAgentThatIsInTheWay shows that an agent that has put
// something else in its socket's place harms only itself, and is served when it has
// taken that away.
func TestHardeningListenersOfAnAgentThatIsInTheWay(t *testing.T) {
	newManager(t)
	l, _ := newListeners(t)
	directory := filepath.Join(l.agents, "other")
	if err := os.MkdirAll(filepath.Join(directory, "io.tripleo.Sidecar"), 0o755); err != nil {
		t.Fatal(err)
	}
	agents := []*policy.Agent{{Name: "agent"}, {Name: "other"}}
	if err := l.set(t.Context(), agents); err != nil {
		t.Fatal(err)
	}
	if err := l.answers("agent"); err != nil {
		t.Errorf("the other agent: %v", err)
	}
	if !l.reopening["other"] {
		t.Error("it will not be tried again")
	}
	if err := os.Remove(filepath.Join(directory, "io.tripleo.Sidecar")); err != nil {
		t.Fatal(err)
	}
	l.reopen(t.Context(), failed{name: "other", pause: reopenPauseMax})
	if err := l.answers("other"); err != nil {
		t.Errorf("after it has made room: %v", err)
	}
}
