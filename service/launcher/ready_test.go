package launcher

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tripleo.io/sidecar/service/document"
)

func TestReadyWaitsForEveryPIDFile(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	main := mainOf(t)
	p := documentOf(document.Plan{ID: testID, PIDNamespace: document.Private, PIDFiles: []document.File{{Root: root, Path: "d/pid"}, {Root: root, Path: "pid2"}}})
	started := time.Now()
	go func() {
		for _, step := range []func() error{
			func() error { return os.WriteFile(root+"/pid2", []byte("7\n"), 0o644) },
			func() error { return os.Mkdir(root+"/d", 0o755) },
			func() error { return os.WriteFile(root+"/d/pid", nil, 0o644) },
			func() error { return os.WriteFile(root+"/d/pid", []byte("4711\n"), 0o644) }, // an agent's lie
			func() error { return os.WriteFile(root+"/d/pid", []byte("1\n"), 0o644) },
		} {
			time.Sleep(20 * time.Millisecond)
			if err := step(); err != nil {
				t.Error(err)
			}
		}
	}()
	pid, err := Launcher{}.Ready(deadline(t, time.Minute), p, unitOf(main.Process.Pid, map[int]int{1: 200, 7: 207}), main.Process.Pid)
	if pid != 200 || err != nil {
		t.Fatalf("process %d, %v, want 200", pid, err)
	}
	if took := time.Since(started); took < 100*time.Millisecond {
		t.Errorf("ready after %v, before the payload was", took)
	}
	for name, want := range map[string]string{"/d/pid": "200\n", "/pid2": "207\n"} {
		if text, err := os.ReadFile(root + name); string(text) != want {
			t.Errorf("%s holds %q, %v, want %q", name, text, err, want)
		}
	}
}

func deadline(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func TestReadyWithoutPIDFileTakesTheFirstProcess(t *testing.T) {
	t.Parallel()
	main := mainOf(t)
	var calls atomic.Int32
	table := ProcessTable(func() ([]Process, error) {
		if calls.Add(1) < 5 {
			return unitOf(main.Process.Pid, nil)()
		}
		return unitOf(main.Process.Pid, map[int]int{1: 200})()
	})
	pid, err := Launcher{}.Ready(deadline(t, time.Minute), documentOf(document.Plan{ID: testID, PIDNamespace: document.Private}), table, main.Process.Pid)
	if pid != 200 || err != nil {
		t.Errorf("process %d, %v, want 200", pid, err)
	}
}

func TestReadyWaitsForTheSocket(t *testing.T) {
	t.Parallel()
	root, err := os.MkdirTemp("/tmp", "s")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(root) })
	main := mainOf(t)
	table := unitOf(main.Process.Pid, map[int]int{1: 200})
	p := documentOf(document.Plan{ID: testID, PIDNamespace: document.Private, Socket: &document.File{Root: root, Path: "ctl"}})
	_, err = Launcher{}.Ready(deadline(t, 50*time.Millisecond), p, table, main.Process.Pid)
	if err == nil || !strings.Contains(err.Error(), "not ready after") || !strings.Contains(err.Error(), "/ctl: does not exist") {
		t.Errorf("without the socket: %v", err)
	}
	l, err := net.Listen("unix", root+"/ctl")
	must(t, err)
	defer l.Close()
	pid, err := Launcher{}.Ready(deadline(t, time.Minute), p, table, main.Process.Pid)
	if pid != 200 || err != nil {
		t.Errorf("process %d, %v, want 200", pid, err)
	}
}

func TestReadyWaitsForAHandlerOfSIGTERM(t *testing.T) {
	t.Parallel()
	main := mainOf(t)
	for name, unhandledFor := range map[string]int{"soon": 5, "never": 1 << 30} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			must(t, os.WriteFile(root+"/pid", []byte("1\n"), 0o644))
			looks, started := 0, time.Now()
			table := ProcessTable(func() ([]Process, error) {
				looks++
				unhandled := looks < unhandledFor && time.Since(started) < mainLoopGrace
				if text, err := os.ReadFile(root + "/pid"); unhandled && string(text) != "1\n" {
					t.Errorf("the pid file held %q, %v before the payload handled SIGTERM", text, err)
				}
				first := Process{PID: 200, Parent: main.Process.Pid, NSPID: []int{200, 1}, LosesSIGTERM: looks < unhandledFor}
				return []Process{{PID: main.Process.Pid, Parent: 1, NSPID: []int{main.Process.Pid}}, first}, nil
			})
			p := documentOf(document.Plan{ID: testID, PIDNamespace: document.Private, PIDFiles: []document.File{{Root: root, Path: "pid"}}})
			pid, err := Launcher{}.Ready(deadline(t, time.Minute), p, table, main.Process.Pid)
			if pid != 200 || err != nil {
				t.Errorf("process %d, %v, want 200", pid, err)
			}
			if looks < 5 || name == "never" && time.Since(started) < mainLoopGrace {
				t.Errorf("ready after %d looks and %v", looks, time.Since(started))
			}
		})
	}
}

func TestReadyEndsAtOnceWhenTheMainProcessDies(t *testing.T) {
	t.Parallel()
	main := mainOf(t)
	p := documentOf(document.Plan{ID: testID, PIDNamespace: document.Private, PIDFiles: []document.File{{Root: t.TempDir(), Path: "pid"}}})
	table := unitOf(main.Process.Pid, map[int]int{1: 200})
	var killed atomic.Int64
	go func() {
		time.Sleep(200 * time.Millisecond)
		killed.Store(time.Now().UnixNano())
		_ = main.Process.Kill() // checked by what Ready says
	}()
	_, err := Launcher{}.Ready(deadline(t, time.Minute), p, table, main.Process.Pid)
	took := time.Duration(time.Now().UnixNano() - killed.Load())
	if !errors.Is(err, ErrMainEnded) || took > 30*time.Second {
		t.Errorf("error %v %v after its death, want ErrMainEnded long before the deadline", err, took)
	}
}

// TestReadySaysWhatWasMissingAtTheTimeOut ends the main process when systemd would,
// which is shortly before the deadline.
func TestReadySaysWhatWasMissingAtTheTimeOut(t *testing.T) {
	t.Parallel()
	main := mainOf(t)
	p := documentOf(document.Plan{ID: testID, PIDNamespace: document.Private, PIDFiles: []document.File{{Root: t.TempDir(), Path: "pid"}}})
	must(t, main.Process.Kill())
	_, err := Launcher{}.Ready(deadline(t, slack), p, unitOf(main.Process.Pid, nil), main.Process.Pid)
	if err == nil || errors.Is(err, ErrMainEnded) || !strings.Contains(err.Error(), "/pid: ") {
		t.Errorf("error %v, want one that names the pid file", err)
	}
}

func TestReadyDoesNotTrustAMainPIDOutsideOfTheUnit(t *testing.T) {
	t.Parallel()
	main, other := mainOf(t), mainOf(t)
	p := documentOf(document.Plan{ID: testID, PIDNamespace: document.Private})
	table := unitOf(main.Process.Pid, map[int]int{1: 200})
	if _, err := (Launcher{}).Ready(t.Context(), p, table, other.Process.Pid); !errors.Is(err, ErrMainEnded) {
		t.Errorf("a process of another unit: %v, want ErrMainEnded", err)
	}
	if _, err := (Launcher{}).Ready(t.Context(), p, table, 1<<30); err == nil {
		t.Error("a process that cannot exist was accepted")
	}
}

func TestReadySaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	main := mainOf(t)
	table := unitOf(main.Process.Pid, map[int]int{1: 200})
	p := documentOf(document.Plan{ID: testID, PIDNamespace: document.Private, PIDFiles: []document.File{{Root: root, Path: "pid"}}})
	for text, want := range map[string]string{
		"":     "/pid: the pid file is empty",
		"4711": "/pid: 4711 is not a process of this unit",
		"1 2":  "/pid: the pid file holds more than one number",
	} {
		must(t, os.WriteFile(root+"/pid", []byte(text), 0o644))
		_, err := Launcher{}.Ready(deadline(t, 30*time.Millisecond), p, table, main.Process.Pid)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", text, err, want)
		}
	}
}

func TestReadyPassesOnWhatTheTableSays(t *testing.T) {
	t.Parallel()
	main := mainOf(t)
	broken := errors.New("no cgroup")
	table := ProcessTable(func() ([]Process, error) { return nil, broken })
	if _, err := (Launcher{}).Ready(t.Context(), documentOf(document.Plan{ID: testID, PIDNamespace: document.Private}), table, main.Process.Pid); !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
}

func TestReadyPauseGrowsWithTheWait(t *testing.T) {
	t.Parallel()
	for waited, want := range map[time.Duration]time.Duration{
		0:                     time.Millisecond,
		10 * time.Millisecond: time.Millisecond,
		64 * time.Millisecond: 4 * time.Millisecond,
		time.Minute:           20 * time.Millisecond,
	} {
		if got := pause(waited); got != want {
			t.Errorf("pause(%v) = %v, want %v", waited, got, want)
		}
	}
}
