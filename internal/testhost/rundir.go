package testhost

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sys/unix"
)

// runDir is the directory of one running host. It is locked as long as the
// process that booted the host lives, so a later run can tell a host in use
// from what a crash has left.
type runDir struct {
	path string
	lock *flock.Flock
}

// The parts of a run directory.
func (r runDir) id() string         { return filepath.Base(r.path) }
func (r runDir) root() string       { return filepath.Join(r.path, "root") }
func (r runDir) upper() string      { return filepath.Join(r.path, "upper") }
func (r runDir) work() string       { return filepath.Join(r.path, "work") }
func (r runDir) containers() string { return filepath.Join(r.path, "containers") }
func (r runDir) console() string    { return filepath.Join(r.path, "console.log") }
func (r runDir) notify() string     { return filepath.Join(r.path, "notify") }
func (r runDir) disk() string       { return filepath.Join(r.path, "disk") }
func (r runDir) pidFile() string    { return filepath.Join(r.path, "nspawn.pid") }

// newRunDir makes and locks a run directory, after clearing away the
// directories of runs that died.
func (c Config) newRunDir(ctx context.Context) (runDir, error) {
	runs := filepath.Join(c.CacheDir, "run")
	if err := os.MkdirAll(runs, 0o700); err != nil {
		return runDir{}, err
	}
	// Held until our own directory is locked too, or another run could take
	// it for a left-over in between.
	unlock, err := c.lock(ctx, "run")
	if err != nil {
		return runDir{}, err
	}
	defer unlock()
	c.clearLeftovers(ctx, runs)
	path, err := os.MkdirTemp(runs, "host-")
	if err != nil {
		return runDir{}, err
	}
	run := runDir{path: path, lock: flock.New(filepath.Join(path, "lock"))}
	if _, err := run.lock.TryLock(); err != nil {
		return runDir{}, err
	}
	for _, dir := range []string{run.root(), run.upper(), run.work(), run.containers()} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return runDir{}, err
		}
	}
	return run, nil
}

// clearLeftovers removes the run directories that nobody holds. One that
// resists is reported and left alone.
func (c Config) clearLeftovers(ctx context.Context, runs string) {
	dirs, err := filepath.Glob(filepath.Join(runs, "host-*"))
	if err != nil {
		return
	}
	for _, path := range dirs {
		run := runDir{path: path, lock: flock.New(filepath.Join(path, "lock"))}
		if free, err := run.lock.TryLock(); err != nil || !free {
			continue
		}
		c.logf("clearing away %s, left by a run that died", run.id())
		if err := c.clearLeftover(ctx, run); err != nil {
			c.logf("cannot clear %s: %v", run.id(), err)
		}
	}
}

// clearLeftover ends the host of a dead run and removes its directory.
func (c Config) clearLeftover(ctx context.Context, run runDir) error {
	if err := run.endOrphan(ctx, c.StopTimeout); err != nil {
		return err
	}
	cgroup, err := cgroupOf("self")
	if err != nil {
		return err
	}
	return errors.Join(removeCgroup(filepath.Join(cgroup, run.id())), run.remove())
}

// endOrphan stops an nspawn whose parent died without stopping it. A process
// id may have been reused, so the process must also have our root on its
// command line; and a pidfd keeps it the same process.
func (r runDir) endOrphan(ctx context.Context, timeout time.Duration) error {
	text, err := os.ReadFile(r.pidFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("%s: %w", r.pidFile(), err)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil // no such process
	}
	defer unix.Close(fd)
	if !hasArgument(pid, "--directory="+r.root()) {
		return nil
	}
	for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		if err := unix.PidfdSendSignal(fd, signal, nil, 0); err != nil {
			return nil // gone
		}
		if pidfdWait(ctx, fd, timeout) {
			return nil
		}
	}
	return fmt.Errorf("process %d does not end", pid)
}

// hasArgument tells whether a process was started with the argument.
func hasArgument(pid int, argument string) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && slices.Contains(strings.Split(string(text), "\x00"), argument)
}

// pidfdWait waits until the process has ended and tells whether it has.
func pidfdWait(ctx context.Context, fd int, timeout time.Duration) bool {
	deadline := time.Now().Add(timeout)
	for time.Now().Before(deadline) && ctx.Err() == nil {
		polled := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if count, err := unix.Poll(polled, 100); err == nil && count == 1 {
			return true
		}
	}
	return false
}

// remove removes the directory with what is mounted in it, and its lock.
func (r runDir) remove() error {
	return errors.Join(removeTree(r.path), r.lock.Close())
}

// consoleTail returns the last lines of the console, for an error.
func (r runDir) consoleTail() string {
	text, err := os.ReadFile(r.console())
	if err != nil {
		return "no console: " + filepath.Base(r.console()) + " was not written"
	}
	return "console:\n" + lastLines(string(text), 20)
}
