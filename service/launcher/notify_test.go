package launcher

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/internal/sdnotify"
)

// manager stands for systemd: it reads two messages and closes what came with
// the second, if told so.
func manager(t *testing.T, address string, answer bool) <-chan []string {
	t.Helper()
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	must(t, err)
	t.Cleanup(func() { l.Close() })
	messages := make(chan []string, 1)
	go func() {
		var got []string
		defer func() { messages <- got }()
		for range 2 {
			text, control := make([]byte, 100), make([]byte, 100)
			n, oob, _, _, err := l.ReadMsgUnix(text, control)
			if err != nil {
				t.Error(err)
				return
			}
			got = append(got, string(text[:n]))
			if oob > 0 && answer {
				closeRights(t, control[:oob])
			}
		}
	}()
	return messages
}

func closeRights(t *testing.T, control []byte) {
	parsed, err := unix.ParseSocketControlMessage(control)
	if err != nil || len(parsed) != 1 {
		t.Errorf("%d control messages, %v", len(parsed), err)
		return
	}
	fds, err := unix.ParseUnixRights(&parsed[0])
	if err != nil || len(fds) != 1 {
		t.Errorf("descriptors %v, %v, want one", fds, err)
	}
	for _, fd := range fds {
		unix.Close(fd)
	}
}

func TestLaunchNotifyWaitsForTheBarrier(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("/tmp", "n")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, address := range []string{dir + "/notify", "@sidecar-test" + dir} {
		messages := manager(t, address, true)
		if err := Notify(address, "STATUS=Ready: process 1", time.Minute); err != nil {
			t.Errorf("%s: %v", address, err)
		}
		if diff := cmp.Diff([]string{"STATUS=Ready: process 1", "BARRIER=1"}, <-messages); diff != "" {
			t.Errorf("%s: %s", address, diff)
		}
	}
}

func TestLaunchNotifyHasADeadline(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("/tmp", "n")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	manager(t, dir+"/notify", false)
	started := time.Now()
	err = Notify(dir+"/notify", "x", 50*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "timed out") {
		t.Errorf("error %v, want a time-out", err)
	}
	if took := time.Since(started); took < 50*time.Millisecond || took > 30*time.Second {
		t.Errorf("took %v", took)
	}
	if err := Notify(dir+"/nobody", "x", time.Minute); err == nil || errors.Is(err, unix.ETIMEDOUT) {
		t.Errorf("without a manager: %v", err)
	}
	if err := Notify("", "x", time.Minute); err != nil {
		t.Errorf("without NOTIFY_SOCKET: %v", err)
	}
}

// TestLaunchNotifyHasOneDeadline has a manager that reads late, and does not answer then.
func TestLaunchNotifyHasOneDeadline(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("/tmp", "n")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	address := dir + "/notify"
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	must(t, err)
	t.Cleanup(func() { l.Close() })
	queued := 0
	for sdnotify.Send(address, "x", time.Millisecond) == nil { // until its queue is full
		queued++
	}
	const limit = 8 * time.Second
	time.AfterFunc(limit/2, func() {
		for range queued + 1 { // all but the barrier
			if _, err := l.Read(make([]byte, 100)); err != nil {
				t.Error(err)
			}
		}
	})
	started := time.Now()
	if err := Notify(address, "x", limit); !strings.Contains(fmt.Sprint(err), "waiting for the service manager") {
		t.Errorf("error %v, want that the manager does not answer", err)
	}
	if took := time.Since(started); took > limit*5/4 {
		t.Errorf("took %v, want %v", took, limit)
	}
}
