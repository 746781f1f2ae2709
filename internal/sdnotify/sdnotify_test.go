package sdnotify

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// listen plays systemd's end.
func listen(t *testing.T, address string) *net.UnixConn {
	t.Helper()
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// socketPath returns a path that is short enough for a socket.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "notify")
}

func TestNotifySend(t *testing.T) {
	t.Parallel()
	path := socketPath(t)
	for _, address := range []string{path, "@sidecar-test" + path} {
		l := listen(t, address)
		if err := Send(address, "FDSTORE=1\nFDNAME=x", time.Minute, int(os.Stderr.Fd())); err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		text, control := make([]byte, 100), make([]byte, 100)
		n, oob, _, _, err := l.ReadMsgUnix(text, control)
		if err != nil || string(text[:n]) != "FDSTORE=1\nFDNAME=x" {
			t.Errorf("%s: %q, %v", address, text[:n], err)
		}
		messages, err := unix.ParseSocketControlMessage(control[:oob])
		if err != nil || len(messages) != 1 {
			t.Fatalf("%s: %d control messages, %v, want one", address, len(messages), err)
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil || len(fds) != 1 {
			t.Errorf("%s: descriptors %v, %v, want one", address, fds, err)
		}
		for _, fd := range fds {
			unix.Close(fd)
		}
	}
}

// TestHardeningNotifyHasADeadline fills the queue of a manager that does not read.
func TestHardeningNotifyHasADeadline(t *testing.T) {
	t.Parallel()
	path := socketPath(t)
	listen(t, path)
	const limit = 50 * time.Millisecond
	for range 10_000 { // net.unix.max_dgram_qlen is 10 or some hundreds
		began := time.Now()
		err := Send(path, "WATCHDOG=1", limit)
		if err == nil {
			continue
		}
		if took := time.Since(began); !errors.Is(err, unix.ETIMEDOUT) || took < limit || took > 30*time.Second {
			t.Errorf("%v after %v, want %v after %v", err, took, unix.ETIMEDOUT, limit)
		}
		return
	}
	t.Error("the queue does not fill")
}

func TestNotifyWithoutAManager(t *testing.T) {
	t.Parallel()
	if err := Send("", "READY=1", time.Minute); err != nil {
		t.Errorf("without NOTIFY_SOCKET: %v", err)
	}
	for _, address := range []string{socketPath(t), "vsock:2:1"} {
		if err := Send(address, "READY=1", time.Minute); err == nil || errors.Is(err, unix.ETIMEDOUT) {
			t.Errorf("%s: %v, want another error", address, err)
		}
	}
}
