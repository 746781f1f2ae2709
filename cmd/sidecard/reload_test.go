package main

import (
	"errors"
	"log/slog"
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

// newReloading returns a daemon whose reloads fail, and that has begun in a directory with a
// verdict of the daemon before. full has its verdicts fail, as a full disk does, or work.
func newReloading(t *testing.T, isFull bool) (d *daemon, full func(bool)) {
	t.Helper()
	t.Setenv("NOTIFY_SOCKET", "")
	directory := t.TempDir()
	if err := os.WriteFile(directory+"/profiles.d", nil, 0o600); err != nil { // as policy, it is refused
		t.Fatal(err)
	}
	d = &daemon{logger: slog.New(slog.DiscardHandler)}
	d.options.runtimeDirectory, d.options.vendorDirectory, d.options.hostDirectory = directory, directory, directory
	full = func(on bool) {
		t.Helper()
		inTheWay := verdictPath(directory) + ".new"
		err := os.RemoveAll(inTheWay)
		if on {
			err = os.Mkdir(inTheWay, 0o700)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := (verdict{Begun: 3, Ended: 3, Error: "of the daemon before"}).write(directory); err != nil {
		t.Fatal(err)
	}
	full(isFull)
	if err := forgetVerdict(directory); err != nil {
		t.Fatal(err)
	}
	d.tell()
	return d, full
}

// TestHardeningReloadAfterVerdictsThatWereLost: verdicts that cannot be written for a while
// take nothing from the reloads afterwards.
func TestHardeningReloadAfterVerdictsThatWereLost(t *testing.T) {
	for name, lost := range map[string]func(d *daemon, full func(bool)){
		"of a whole reload": func(d *daemon, full func(bool)) {
			full(true)
			d.reload(t.Context())
			full(false)
		},
		"of a begin": func(d *daemon, full func(bool)) {
			full(true)
			if d.tellBegin() {
				t.Error("it was written")
			}
			full(false)
		},
		"of an end": func(d *daemon, full func(bool)) {
			d.tellBegin()
			full(true)
			d.tellEnd(errors.New("lost"))
			full(false)
		},
		"of the start": func(*daemon, func(bool)) {},
	} {
		t.Run(name, func(t *testing.T) {
			d, full := newReloading(t, name == "of the start")
			full(false)
			lost(d, full)
			before, err := readVerdict(d.options.runtimeDirectory)
			if err != nil && name != "of the start" {
				t.Fatal(err)
			}
			d.tellBegin()
			if now, err := readVerdict(d.options.runtimeDirectory); err != nil || now.Ended > before.Begun {
				t.Errorf("an old verdict counts for a new reload: %+v after %+v, %v", now, before, err)
			}
			d.tellEnd(errors.New("of this one"))
			if now, err := readVerdict(d.options.runtimeDirectory); err != nil || now.Ended <= before.Begun || now.Error != "of this one" {
				t.Errorf("the new reload has no verdict: %+v after %+v, %v", now, before, err)
			}
		})
	}
}

// TestHardeningReloadWithoutABegin: the end of a reload whose begin nobody could read is
// not written: it is not the end of a reload that is asked for in between.
func TestHardeningReloadWithoutABegin(t *testing.T) {
	d, full := newReloading(t, false)
	full(true)
	d.logger = slog.New(slog.NewTextHandler(writer(func() { full(false) }), nil)) // it logs that the begin is lost
	d.reload(t.Context())
	d.logger = slog.New(slog.DiscardHandler)
	now, err := readVerdict(d.options.runtimeDirectory)
	if want := (verdict{}); err != nil || now != want || !d.failed {
		t.Errorf("%+v, %v, want %+v as before", now, err, want)
	}
	if !d.tellBegin() {
		t.Error("there is room, and the next begin cannot be written")
	}
}

// writer calls itself for every write.
type writer func()

func (w writer) Write(b []byte) (int, error) {
	w()
	return len(b), nil
}
