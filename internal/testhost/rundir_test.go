package testhost

import (
	"io"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

func TestRunDirsOfDeadRunsAreCleared(t *testing.T) {
	t.Parallel()
	c := Config{CacheDir: t.TempDir(), Log: io.Discard, StopTimeout: time.Second}
	alive, err := c.newRunDir(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dead, err := c.newRunDir(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := dead.lock.Close(); err != nil { // as the kernel does for a dead process
		t.Fatal(err)
	}
	next, err := c.newRunDir(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !exists(alive.root()) || exists(dead.path) || !exists(next.root()) {
		t.Errorf("alive %t, dead %t, next %t; want true, false, true",
			exists(alive.root()), exists(dead.path), exists(next.root()))
	}
}

func TestRunDirOrphanIsEndedByItsArgument(t *testing.T) {
	t.Parallel()
	for name, ours := range map[string]bool{"ours": true, "somebody else's": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := runDir{path: t.TempDir()}
			root := "--directory=" + run.root()
			if !ours {
				root += "-other"
			}
			cmd := exec.Command("sh", "-c", "read never", root)
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			defer stdin.Close() // ends the one that must survive
			spawned, err := startLocked(cmd)
			if err != nil {
				t.Fatal(err)
			}
			pid := strconv.Itoa(spawned.process.Pid)
			if err := writeFile(run.path, filepath.Base(run.pidFile()), pid+"\n", 0o600); err != nil {
				t.Fatal(err)
			}
			if err := run.endOrphan(t.Context(), time.Minute); err != nil {
				t.Fatal(err)
			}
			patience := 300 * time.Millisecond
			if ours {
				patience = time.Minute
			}
			if ended := endsWithin(spawned, patience); ended != ours {
				t.Errorf("ended: %t, want %t", ended, ours)
			}
		})
	}
}

// endsWithin tells whether a process ends in time.
func endsWithin(spawned *nspawn, timeout time.Duration) bool {
	select {
	case <-spawned.done:
		return true
	case <-time.After(timeout):
		return false
	}
}
