package launcher

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/service/document"
)

// systemdOf stands for systemd in a test of Run: it notes what it is told.
func systemdOf(t *testing.T) (address string, told func() string) {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "s")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	address = dir + "/notify"
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	must(t, err)
	lines := make(chan string, 100)
	go func() {
		defer close(lines)
		for {
			text, err := receive(l)
			if err != nil {
				return
			}
			lines <- text
		}
	}()
	return address, func() string {
		l.Close()
		var all []string
		for line := range lines {
			all = append(all, line)
		}
		return strings.Join(all, "\n")
	}
}

// TestLaunchRun has a process of a real control group as the unit's main process.
func TestLaunchRun(t *testing.T) {
	realUnit(t)
	base := filepath.Join(t.TempDir(), "launch")
	for name, test := range map[string]struct {
		plan *document.Document
		die  bool
		more string // that the engine's client does when it is done
		want string // that systemd is told (* is anything), with the main process's number for %d
		err  string
	}{
		"ready":   {plan: documentOf(document.Plan{}), want: "MAINPID=%[1]d\nREADY=1\nSTATUS=Ready: process %[1]d\nBARRIER=1"},
		"ends":    {plan: documentOf(document.Plan{PIDFiles: []document.File{{Root: "/tmp", Path: "never"}}}), die: true, want: "MAINPID=%d", err: ErrMainEnded.Error()},
		"timeout": {plan: documentOf(document.Plan{PIDFiles: []document.File{{Root: "/tmp", Path: "never"}}, TimeoutUSec: 1}), want: "MAINPID=%d\nSTATUS=Failed in readiness: not ready after *", err: "/tmp/never"},
		"client":  {plan: documentOf(document.Plan{TimeoutUSec: 1}), more: "|wait", want: "MAINPID=%d\nSTATUS=Failed in readiness: the container engine's client did not end\nBARRIER=1", err: "client did not end"},
		"never":   {plan: documentOf(document.Plan{PIDFiles: []document.File{{Root: "/tmp", Path: "."}}}), err: "is not a clean path"},
	} {
		main := exec.CommandContext(t.Context(), "sleep", "60")
		must(t, main.Start())
		ended := make(chan error, 1)
		go func() { ended <- main.Wait() }()
		if test.die {
			time.AfterFunc(50*time.Millisecond, func() { _ = main.Process.Kill() }) // Run says so
		}
		address, told := systemdOf(t)
		test.plan.ID, test.plan.PIDNamespace = testID, document.Host
		script := fmt.Sprintf("%s=MAINPID=%d\nREADY=1%s", engineScript, main.Process.Pid, test.more)
		var said error
		_, err := Launcher{Base: base, Journal: journalOf(t).path}.Run(deadline(t, time.Minute), test.plan, containerOf("/proc/self/exe"), []string{script, "NOTIFY_SOCKET=" + address, "SIDECAR_X=1"}, func(err error) { said = err })
		if said != nil {
			if !errors.Is(err, ErrMainEnded) {
				t.Errorf("%s: %v after it was said", name, err)
			}
			err = said
		}
		if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: %v, want an error with %q", name, err, test.err)
		}
		want := test.want
		if want != "" {
			want = fmt.Sprintf(want, main.Process.Pid)
		}
		got := told()
		if begin, ok := strings.CutSuffix(want, "*"); got != want && !(ok && strings.HasPrefix(got, begin)) {
			t.Errorf("%s: systemd was told %q, want %q", name, got, want)
		}
		if entries, err := os.ReadDir(base); err == nil && len(entries) > 0 {
			t.Errorf("%s: left over: %v", name, entries)
		}
		if test.err != "" && test.want != "" { // the unit would wait for it
			select {
			case <-ended:
			case <-time.After(time.Minute):
				t.Errorf("%s: the main process goes on", name)
			}
		}
		_ = unix.Kill(main.Process.Pid, unix.SIGKILL) // it may have ended
	}
}
