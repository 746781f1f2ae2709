//go:build testhost

package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// expectedDaemon is the daemon's process; a test that kills it sets it again.
var expectedDaemon int

// trouble is what must never be in the daemon's log: a panic that it has caught, or what Go
// writes. podman's own panics are in quoted errors.
var trouble = regexp.MustCompile(`(?m)^(panic|fatal error|goroutine \d+ \[)|DATA RACE|msg="?panic`)

// daemonPID returns the daemon's process, which must be active.
func daemonPID() (int, error) {
	state, err := output("systemctl", "show", "-P", "ActiveState", "sidecard")
	if err == nil && state != "active" {
		err = fmt.Errorf("sidecard is %s", state)
	}
	if err != nil {
		return 0, err
	}
	text, err := output("systemctl", "show", "-P", "MainPID", "sidecard")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(text)
}

// checkDaemon finds out whether the daemon is the one that it was, and well.
func checkDaemon() error {
	pid, err := daemonPID()
	if err == nil && pid != expectedDaemon {
		err = fmt.Errorf("sidecard is process %d, it was %d: it has restarted by itself", pid, expectedDaemon)
	}
	text, logErr := output("journalctl", "-q", "-u", "sidecard", "-o", "cat", "--no-pager")
	if at := trouble.FindStringIndex(text); at != nil {
		logErr = fmt.Errorf("the log of sidecard has: %s", text[at[0]:min(at[0]+4096, len(text))])
	}
	return errors.Join(err, logErr)
}

// withSettings restarts the daemon with more settings of its service, for the time of the
// test (systemd.service(5), systemd.exec(5)).
func withSettings(t *testing.T, settings ...string) {
	t.Helper()
	const directory = "/run/systemd/system/sidecard.service.d"
	again := func() {
		run(t, "systemctl", "daemon-reload")
		run(t, "systemctl", "stop", "sidecard")
		startDaemon(t)
	}
	if err := os.MkdirAll(directory, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, directory+"/test.conf", "[Service]\n"+strings.Join(settings, "\n")+"\n")
	t.Cleanup(func() {
		_ = os.RemoveAll(directory)
		again()
	})
	again()
}

// killDaemon kills the daemon with SIGKILL.
func killDaemon(t testing.TB) {
	t.Helper()
	if err := syscall.Kill(expectedDaemon, syscall.SIGKILL); err != nil {
		t.Fatalf("kill sidecard: %v", err)
	}
}

// awaitDaemon waits until systemd has started the daemon again.
func awaitDaemon(t testing.TB) {
	t.Helper()
	eventually(t, 20*time.Second, "sidecard is back", func() bool {
		pid, err := daemonPID()
		if err != nil || pid == expectedDaemon || pid == 0 {
			return false
		}
		expectedDaemon = pid
		return true
	})
}

// reload makes the daemon read its policy files, which must be good.
func reload(t testing.TB) {
	t.Helper()
	run(t, "systemctl", "reload", "sidecard")
}

// withPolicy writes a policy file for the time of the test, and reloads.
func withPolicy(t testing.TB, dir, name, text string) {
	t.Helper()
	before, readErr := os.ReadFile(policyFile(dir, name))
	if err := writePolicy(dir, name, text); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if readErr != nil { // there was no such file
			run(t, "rm", "-f", policyFile(dir, name))
		} else {
			write(t, policyFile(dir, name), string(before))
		}
		reload(t)
	})
	reload(t)
}

// entry is a journal entry: field to value.
type entry map[string]any

// now is the time from which on a test looks into the journal, as journalctl
// takes it. (Cursors are not exact together with matches on systemd 252.)
func now() string {
	t := time.Now()
	return fmt.Sprintf("@%d.%06d", t.Unix(), t.Nanosecond()/1000)
}

// entriesSince returns the journal entries from a time on that match all matches.
func entriesSince(t testing.TB, since string, matches ...string) []entry {
	t.Helper()
	run(t, "journalctl", "--sync")
	text := run(t, append([]string{"journalctl", "-q", "-o", "json", "--no-pager", "--since=" + since}, matches...)...)
	var entries []entry
	for line := range strings.Lines(text) {
		var e entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("journal entry %q: %v", line, err)
		}
		entries = append(entries, e)
	}
	return entries
}
