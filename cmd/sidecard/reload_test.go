package main

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
)

// TestHardeningReloadHasAVerdict plays the daemon: it gets the signal and says what
// became of the reload. What earlier reloads ended with does not count.
func TestHardeningReloadHasAVerdict(t *testing.T) {
	for name, want := range map[string]string{"taken": "", "refused": "/etc/sidecar/agents.d/x.toml:3: unknown key"} {
		t.Run(name, func(t *testing.T) {
			directory := t.TempDir()
			if err := (verdict{Begun: 7, Ended: 7, Error: "another"}).write(directory); err != nil {
				t.Fatal(err)
			}
			signals := make(chan os.Signal, 1)
			signal.Notify(signals, syscall.SIGHUP)
			defer signal.Stop(signals)
			done := make(chan error, 1)
			go func() {
				<-signals
				begun := verdict{Begun: 8, Ended: 7, Error: "another"}.write(directory)
				done <- errors.Join(begun, verdict{Begun: 8, Ended: 8, Error: want}.write(directory))
			}()
			err := requestReload(t.Context(), directory, os.Getpid())
			if (err == nil) != (want == "") || (err != nil && err.Error() != want) {
				t.Errorf("%v, want %q", err, want)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestHardeningReloadOfADaemonThatEnds(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	daemon := exec.CommandContext(t.Context(), "sleep", "60")
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	pid := daemon.Process.Pid
	if err := (verdict{}).write(directory); err != nil {
		t.Fatal(err)
	}
	if err := daemon.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := requestReload(t.Context(), directory, pid); err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("a daemon that ends: %v", err)
	}
	_ = daemon.Wait() // it was killed
	if err := requestReload(t.Context(), directory, pid); err == nil {
		t.Error("no process is no error")
	}
}

// TestHardeningReloadWithoutAVerdict has a daemon that cannot write its first verdict:
// the one of the daemon before must not be taken for it.
func TestHardeningReloadWithoutAVerdict(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	if err := (verdict{Begun: 3, Ended: 3, Error: "of the daemon before"}).write(directory); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(verdictPath(directory)+".new", 0o700); err != nil { // as good as a full disk
		t.Fatal(err)
	}
	if err := errors.Join(forgetVerdict(directory), forgetVerdict(directory)); err != nil {
		t.Fatal(err)
	}
	if err := (verdict{}).write(directory); err == nil {
		t.Error("no error")
	}
	daemon := exec.CommandContext(t.Context(), "sleep", "60")
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	if err := requestReload(t.Context(), directory, daemon.Process.Pid); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v, want that there is no verdict", err)
	}
	var ended *exec.ExitError
	if err := daemon.Wait(); !errors.As(err, &ended) || ended.Sys().(syscall.WaitStatus).Signal() != syscall.SIGHUP {
		t.Errorf("the daemon was not told to reload: %v", err)
	}
}

// TestHardeningReloadVerdictThatCannotBeWritten: one reload whose verdict is lost does not
// keep the next one's from being heard.
func TestHardeningReloadVerdictThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	if err := (verdict{Begun: 1, Ended: 1}).write(directory); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(verdictPath(directory)+".new", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := (verdict{Begun: 2, Ended: 2}).write(directory); err == nil {
		t.Error("no error")
	}
	if v, err := readVerdict(directory); err != nil || v.Ended != 1 {
		t.Errorf("the verdict is %+v, %v; want the one before", v, err)
	}
}
