package launcher

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/internal/sdnotify"
)

// The engine's client of these tests is this test binary: a line of engineScript is
// a message to its service manager, after "wait" it waits, after "exit" it ends well.
const engineScript = "LAUNCH_TEST_ENGINE"

func TestMain(m *testing.M) {
	if script, ok := os.LookupEnv(engineScript); ok {
		os.Exit(playEngine(script))
	}
	os.Exit(m.Run())
}

func playEngine(script string) int {
	for line := range strings.SplitSeq(script, "|") {
		var err error
		switch {
		case line == "wait":
			time.Sleep(time.Minute)
		case line == "busy": // podman at the making of a container
			signal.Ignore(unix.SIGTERM)
			err = sdnotify.Send(os.Getenv("NOTIFY_SOCKET"), "MAINPID=1", time.Minute)
			time.Sleep(7 * time.Second)
		case line == "die":
			err = unix.Kill(os.Getpid(), unix.SIGKILL)
		case line == "fail":
			return 7
		case line == "barrier":
			err = Notify(os.Getenv("NOTIFY_SOCKET"), "X=1", time.Minute)
		default:
			err = sdnotify.Send(os.Getenv("NOTIFY_SOCKET"), line, time.Minute)
		}
		if err != nil {
			return 99
		}
	}
	return 0
}

// stderr is a copy of standard error, which a client closes.
func stderr(t *testing.T) *os.File {
	t.Helper()
	fd, err := unix.Dup(2)
	must(t, err)
	return os.NewFile(uintptr(fd), "stderr")
}

// clientOf starts an engine's client.
func clientOf(t *testing.T, script string) *client {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "e")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	e, err := startClient(filepath.Join(dir, socketName), stderr(t), containerOf("/proc/self/exe", "x"), []string{engineScript + "=" + script})
	must(t, err)
	t.Cleanup(func() {
		_ = e.cmd.Process.Kill() // it may have ended
		<-e.exited
		e.close()
	})
	return e
}

func TestLaunchClient(t *testing.T) {
	t.Parallel()
	for script, want := range map[string]struct {
		mainPID, code int
		err           string
	}{
		"MAINPID=42\nREADY=1":               {mainPID: 42},
		"MAINPID=42\nREADY=1|wait":          {mainPID: 42},
		"READY=1\nMAINPID=42|fail":          {mainPID: 42},
		"STATUS=x|MAINPID=42|READY=1":       {mainPID: 42},
		"barrier|MAINPID=42\nREADY=1|die":   {mainPID: 42},
		"MAINPID=41|MAINPID=42\nREADY=1":    {mainPID: 42},
		"fail":                              {code: 7, err: "exit code 7"},
		"MAINPID=42\nREADY=0|fail":          {code: 7, err: "exit code 7"},
		"die":                               {code: 137, err: "exit code 137"},
		"MAINPID=42":                        {err: "without having started anything"},
		"READY=1|wait":                      {err: "did not say which process"},
		"MAINPID=-1\nREADY=1|wait":          {err: `"-1", which is not a number`},
		"MAINPID=one\nREADY=1|wait":         {err: `"one", which is not a number`},
		strings.Repeat("x", 8000) + "|fail": {code: 7, err: "exit code 7"},
	} {
		e := clientOf(t, script)
		pid, err := e.started(deadline(t, time.Minute))
		if want.err == "" && (err != nil || pid != want.mainPID) {
			t.Errorf("%.60q: process %d, %v, want %d", script, pid, err, want.mainPID)
		}
		if want.err != "" && (err == nil || !strings.Contains(err.Error(), want.err)) {
			t.Errorf("%.60q: error %v, want one with %q", script, err, want.err)
		}
		var exit *ExitError
		if code := want.code; errors.As(err, &exit) != (code != 0) || code != 0 && exit.Code != code {
			t.Errorf("%.60q: %v, want exit code %d", script, exit, code)
		}
	}
}

func TestLaunchClientIsEndedWithTheStart(t *testing.T) {
	t.Parallel()
	e := clientOf(t, "MAINPID=1|wait")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	_, err := e.started(ctx)
	var exit *ExitError
	if !errors.As(err, &exit) || exit.Code != 128+int(unix.SIGTERM) {
		t.Errorf("error %v, want that SIGTERM ended it", err)
	}
}

// TestLaunchClientIsNotLeft shows that a client that is told to end has ended when
// that is told: what it makes until then would be there after the unit was cleaned up.
func TestLaunchClientIsNotLeft(t *testing.T) {
	t.Parallel()
	e := clientOf(t, "busy")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(4*time.Second, cancel) // it ignores SIGTERM by then
	if _, err := e.started(ctx); err == nil || !strings.Contains(err.Error(), "without having started anything") {
		t.Errorf("error %v, want the error for a client that went on and ended well", err)
	}
	select {
	case <-e.exited:
	default:
		t.Error("the client goes on")
	}
}

func TestLaunchClientThatDoesNotExist(t *testing.T) {
	t.Parallel()
	if _, err := startClient(filepath.Join(t.TempDir(), "n"), stderr(t), containerOf("/nonexistent"), nil); err == nil || !strings.Contains(err.Error(), "/nonexistent") {
		t.Errorf("error %v, want one that names the program", err)
	}
}
