//go:build testhost

package test

import (
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
)

// logOf reads a log, which must be readable.
func logOf(t *testing.T, c *client.Client, p interfaces.ReadLogParameters) []interfaces.LogEntry {
	t.Helper()
	var entries []interfaces.LogEntry
	for e, err := range c.ReadLog(minute(t), p) {
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	return entries
}

// says reports whether an entry has the text.
func says(entries []interfaces.LogEntry, text string) bool {
	return slices.ContainsFunc(entries, func(e interfaces.LogEntry) bool { return strings.Contains(e.Message, text) })
}

// follower follows a log until the test ends.
type follower struct {
	mu      sync.Mutex
	entries []interfaces.LogEntry
	ended   chan error
}

// needsFollowing skips a test in which new lines must be heard where journalctl does not see them:
// nspawn mounts a boot ID that ProtectKernelTunables= of systemd 252 hides from sidecard's
// journalctl, which then waits for entries of another boot.
func needsFollowing(t *testing.T) {
	t.Helper()
	if onBookworm(t) {
		t.Skip("journalctl --follow does not know the boot of a Debian 12 test host: see needsFollowing")
	}
}

func follow(t *testing.T, c *client.Client, p interfaces.ReadLogParameters) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	f := &follower{ended: make(chan error, 1)}
	p.Follow = new(true)
	go func() {
		for e, err := range c.ReadLog(ctx, p) {
			if err != nil {
				f.ended <- err
				return
			}
			f.mu.Lock()
			f.entries = append(f.entries, e)
			f.mu.Unlock()
		}
	}()
	return f
}

// all returns what has come so far.
func (f *follower) all() []interfaces.LogEntry {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.entries)
}

// hears waits until the text has come.
func (f *follower) hears(t *testing.T, text string) {
	t.Helper()
	eventually(t, 10*time.Second, "the follower hears "+text, func() bool {
		select {
		case err := <-f.ended:
			t.Fatalf("the follower has ended: %v", err)
		default:
		}
		return says(f.all(), text)
	})
}

// ends waits until the follower has ended.
func (f *follower) ends(t *testing.T) error {
	t.Helper()
	select {
	case err := <-f.ended:
		return err
	case <-time.After(time.Minute):
		t.Fatal("the follower goes on for a minute")
		return nil
	}
}

// logs says a line as the sidecar's payload would: from a process in its control group, which
// journald finds because the process lives until it has read the line.
func logs(t *testing.T, s *interfaces.Sidecar, text string) {
	t.Helper()
	const script = `group=$(sed -n s/^0:://p "/proc/$1/cgroup") && echo $$ > "/sys/fs/cgroup$group/cgroup.procs" &&
		exec systemd-cat -t payload sh -c 'printf "%s\n" "$1"; journalctl --sync || sleep 1' sh "$2"`
	run(t, "sh", "-c", script, "sh", strconv.FormatInt(*s.Runtime.ProcessID, 10), text)
}

// TestLifecycleLogs: an agent reads what its dnsmasq has logged, hears a new line, and reads it
// when the sidecar has ended. Another agent reads nothing of it.
func TestLifecycleLogs(t *testing.T) {
	needsFollowing(t)
	begin(t)
	forEachEngine(t, func(t *testing.T) {
		k := newDnsmasq(t)
		s := k.launch(t)
		own := interfaces.ReadLogParameters{ID: &s.ID}
		f := follow(t, as(t, k.agent), own)
		f.hears(t, "started, version")
		before := time.Now().UnixMicro()
		k.reloads(t, s)
		eventually(t, 10*time.Second, "the reload is heard", func() bool {
			return slices.ContainsFunc(f.all(), func(e interfaces.LogEntry) bool { return e.TimeUSec > before && !e.Systemd })
		})
		k.stops(t, s)
		entries := logOf(t, as(t, k.agent), own)
		for _, e := range entries {
			if e.ID != s.ID || e.InvocationID == nil || *e.InvocationID != *s.Runtime.InvocationID || e.ProcessID == nil {
				t.Errorf("entry %+v", e)
			}
			if strings.Contains(e.Message, "started, version") && (*e.ProcessID != *s.Runtime.ProcessID || e.Systemd || e.Identifier != "dnsmasq") {
				t.Errorf("dnsmasq's first line: %+v", e)
			}
		}
		if !says(entries, "started, version") || !slices.ContainsFunc(entries, func(e interfaces.LogEntry) bool { return e.Systemd && *e.ProcessID == 1 }) {
			t.Errorf("after the end: %+v", entries)
		}
		if newest := logOf(t, as(t, k.agent), interfaces.ReadLogParameters{ID: &s.ID, Lines: new(int64(1))}); len(newest) != 1 || newest[0] != entries[len(entries)-1] && newest[0].Message != entries[len(entries)-1].Message {
			t.Errorf("the newest: %+v", newest)
		}
		unheard(t, s.ID)
		if tool := sidecarctl(t, 0, "logs", s.ID); tool.code != toolDone || !strings.Contains(tool.stdout, " dnsmasq[") {
			t.Errorf("sidecarctl: %v", tool)
		}
		if tool := sidecarctl(t, 0, "--transport", "dbus", "logs", "--agent", k.agent, "--profile", k.profile); tool.code != toolDone || !strings.Contains(tool.stdout, s.ID+" dnsmasq[") {
			t.Errorf("sidecarctl over D-Bus: %v", tool)
		}
	})
}

// unheard holds another agent to read nothing of a sidecar.
func unheard(t *testing.T, id string) {
	t.Helper()
	other := as(t, limited)
	for _, err := range other.ReadLog(minute(t), interfaces.ReadLogParameters{ID: &id}) {
		if !errors.Is(err, interfaces.ErrNoSuchSidecar) {
			t.Errorf("another agent, by ID: %v", err)
		}
	}
	for _, e := range logOf(t, other, interfaces.ReadLogParameters{Lines: new(int64(interfaces.MaxLogLines))}) {
		if !strings.HasPrefix(e.ID, limited+".") {
			t.Errorf("another agent reads %+v", e)
		}
	}
}

// TestLifecycleLogsForged: neither a user of the host, by journald's own socket or by syslog's,
// nor a payload can write into another sidecar's log, and what a payload writes does nothing to
// a terminal.
func TestLifecycleLogsForged(t *testing.T) {
	needsFollowing(t)
	begin(t)
	a := targetOf(t, "dnsmasq")
	namespace(t, "t-forged")
	victim := start(t, tester, probe(t, "t-forged"))
	f := follow(t, as(t, tester), interfaces.ReadLogParameters{})
	since := now()
	forgery := strings.Join([]string{
		"MESSAGE=forged", "SIDECAR_ID=" + victim.ID, "AGENT=" + tester, "PROFILE=probe", "UNIT=" + victim.Runtime.Unit,
		"_SYSTEMD_UNIT=" + victim.Runtime.Unit, "_SYSTEMD_SLICE=sidecar-" + tester + ".slice", "_PID=1",
		"OBJECT_SYSTEMD_UNIT=" + victim.Runtime.Unit, "SYSLOG_IDENTIFIER=systemd", "PRIORITY=0",
		"INVOCATION_ID=" + *victim.Runtime.InvocationID,
	}, "\n") + "\n"
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err = unix.Sendto(fd, []byte(forgery), 0, &unix.SockaddrUnix{Name: "/run/systemd/journal/socket"}); err != nil {
		t.Fatal(err)
	}
	run(t, "logger", "-t", "dnsmasq", "--id=1", "forged by syslog, of "+victim.ID)
	eventually(t, 5*time.Second, "the forgeries are in the journal", func() bool {
		return len(forged(entriesSince(t, since, "SIDECAR_ID="+victim.ID, "UNIT="+victim.Runtime.Unit))) == 1 &&
			len(forged(entriesSince(t, since, "SYSLOG_IDENTIFIER=dnsmasq"))) == 1
	})
	s := a.begin(t, "syslog", "<30>systemd[1]: forged \x1b[2J\x1b]0;title\x07 by "+victim.ID, "<30>sidecar_id="+victim.ID+"\nUNIT="+victim.Runtime.Unit+"\nforged")
	a.result(t, s)
	eventually(t, 10*time.Second, "what it logs is its own", func() bool {
		return says(logOf(t, as(t, a.agent), interfaces.ReadLogParameters{ID: &s.ID}), "forged")
	})
	logs(t, victim, "the last line")
	f.hears(t, "the last line")
	for _, entries := range [][]interfaces.LogEntry{
		f.all(), logOf(t, as(t, tester), interfaces.ReadLogParameters{}), logOf(t, as(t, tester), interfaces.ReadLogParameters{ID: &victim.ID}),
	} {
		if says(entries, "forged") || !says(entries, "the last line") {
			t.Errorf("the victim's log: %+v", entries)
		}
	}
	for _, e := range logOf(t, as(t, a.agent), interfaces.ReadLogParameters{ID: &s.ID}) {
		if strings.Contains(e.Message, "forged") && (e.Systemd || *e.ProcessID != *s.Runtime.ProcessID || *e.InvocationID != *s.Runtime.InvocationID) {
			t.Errorf("a payload passes for another: %+v", e)
		}
	}
	for _, form := range []string{"table", "json"} {
		tool := sidecarctl(t, 0, "logs", "-o", form, s.ID)
		if !strings.Contains(tool.stdout, "title") || strings.ContainsAny(tool.stdout, "\x1b\x07\r") {
			t.Errorf("%s: %q", form, tool.stdout)
		}
	}
}

// TestLifecycleLogsStuckJournald: while journald does not answer, what is written is read
// before the error, which comes in time; followers end with an error.
func TestLifecycleLogsStuckJournald(t *testing.T) {
	begin(t)
	k := newDnsmasq(t)
	s := k.launch(t)
	own := interfaces.ReadLogParameters{ID: &s.ID}
	f := follow(t, as(t, k.agent), own)
	f.hears(t, "started, version")
	goOn := stopJournald(t)
	began := time.Now()
	var entries []interfaces.LogEntry
	var failed error
	for e, err := range as(t, k.agent).ReadLog(minute(t), own) {
		if failed = err; err == nil {
			entries = append(entries, e)
		}
	}
	if !errors.Is(failed, interfaces.ErrHostFailure) || !strings.Contains(failed.Error(), "journald does not answer") || !says(entries, "started, version") {
		t.Errorf("%d entries, %v", len(entries), failed)
	}
	if tool := sidecarctl(t, 0, "--transport", "dbus", "logs", s.ID); !strings.Contains(tool.stderr, "journald does not answer") {
		t.Errorf("over D-Bus: %v", tool)
	}
	if err := f.ends(t); !errors.Is(err, interfaces.ErrHostFailure) {
		t.Errorf("the follower: %v", err)
	}
	t.Logf("all of it took %v", time.Since(began))
	goOn()
	eventually(t, 5*time.Second, "it is read again", func() bool {
		for _, err := range as(t, k.agent).ReadLog(minute(t), own) {
			if err != nil {
				return false
			}
		}
		return true
	})
}

// TestLifecycleLogsRestartOfJournald: a follower hears what is logged after a restart of
// journald, and of its disk files' rotation.
func TestLifecycleLogsRestartOfJournald(t *testing.T) {
	needsFollowing(t)
	begin(t)
	namespace(t, "t-restart")
	s := start(t, tester, probe(t, "t-restart"))
	f := follow(t, as(t, tester), interfaces.ReadLogParameters{Lines: new(int64(0))})
	eventually(t, 10*time.Second, "journalctl follows", func() bool { return len(journalctls(t)) == 1 })
	logs(t, s, "before the restart")
	f.hears(t, "before the restart")
	run(t, "systemctl", "restart", "systemd-journald.service")
	logs(t, s, "after the restart")
	f.hears(t, "after the restart")
	run(t, "journalctl", "--rotate")
	logs(t, s, "after the rotation")
	f.hears(t, "after the rotation")
	select {
	case err := <-f.ended:
		t.Errorf("the follower: %v", err)
	case <-time.After(12 * time.Second): // two looks at journald
	}
}

// journalctls are the processes of followers.
func journalctls(t *testing.T) []int {
	t.Helper()
	return processesWith("--follow --no-tail")
}

// TestLifecycleLogsFollowers: followers are bounded, leave nothing behind when their callers
// do, and a journalctl that is killed is told.
func TestLifecycleLogsFollowers(t *testing.T) {
	begin(t)
	const each = 4
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for range each {
		go func() {
			for range as(t, tester).ReadLog(ctx, interfaces.ReadLogParameters{Follow: new(true)}) {
			}
		}()
	}
	eventually(t, 10*time.Second, "all follow", func() bool { return len(journalctls(t)) == each })
	if err := follow(t, as(t, tester), interfaces.ReadLogParameters{}).ends(t); !errors.Is(err, interfaces.ErrOverloaded) {
		t.Errorf("one too many: %v", err)
	}
	if _, err := as(t, tester).List(minute(t), interfaces.ListParameters{}); err != nil {
		t.Errorf("beside them: %v", err)
	}
	cancel()
	eventually(t, 10*time.Second, "none is left", func() bool { return len(journalctls(t)) == 0 })
	f := follow(t, as(t, tester), interfaces.ReadLogParameters{})
	eventually(t, 10*time.Second, "it follows", func() bool { return len(journalctls(t)) == 1 })
	if err := unix.Kill(journalctls(t)[0], unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := f.ends(t); !errors.Is(err, interfaces.ErrHostFailure) {
		t.Errorf("without its journalctl: %v", err)
	}
}

// TestLifecycleLogsTop: top shows what a sidecar uses, as List, the properties on D-Bus and the
// control group have it.
func TestLifecycleLogsTop(t *testing.T) {
	begin(t)
	forEachEngine(t, func(t *testing.T) {
		namespace(t, "t-top")
		s := start(t, tester, probe(t, "t-top"))
		if s.Runtime.Usage != nil || get(t, tester, s.ID).Runtime.Usage != nil {
			t.Error("usage was not asked for")
		}
		all, err := as(t, tester).List(minute(t), interfaces.ListParameters{Usage: new(true)})
		if err != nil || len(all) != 1 || all[0].Runtime.Usage == nil || all[0].Runtime.Usage.CPUUSec == nil || *all[0].Runtime.Usage.CPUUSec <= 0 {
			t.Fatalf("%+v, %v", all, err)
		}
		tool := sidecarctl(t, 0, "top", "--agent", tester, "-d", "200ms")
		if tool.code != toolDone || !strings.Contains(tool.stdout, s.ID) || !strings.Contains(tool.stdout, "%") {
			t.Errorf("sidecarctl: %v", tool)
		}
		object := "/io/tripleo/Sidecar1/sidecar/" + strings.NewReplacer(".", "_2e", "-", "_2d").Replace(s.ID)
		text := run(t, "busctl", "--json=short", "get-property", "io.tripleo.Sidecar1", object, "io.tripleo.Sidecar1.Sidecar", "CpuUSec")
		var property struct{ Data int64 }
		if err := json.Unmarshal([]byte(text), &property); err != nil || property.Data < *all[0].Runtime.Usage.CPUUSec {
			t.Errorf("on D-Bus: %s, %v", text, err)
		}
	})
}

// TestLifecycleLogsTopOnATerminal: it draws again and again in the room that there is, and ends
// when it is interrupted, with the screen as it was.
func TestLifecycleLogsTopOnATerminal(t *testing.T) {
	needsFollowing(t)
	begin(t)
	namespace(t, "t-screen")
	s := start(t, tester, probe(t, "t-screen"))
	master, slave := openTerminal(t)
	if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 10, Col: 120}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(minute(t), "sidecarctl", "top", "-d", "100ms")
	cmd.Stdout = slave
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = slave.Close()
	shown := ""
	text := make([]byte, 4096)
	read := func() bool {
		n, err := master.Read(text)
		shown += string(text[:max(0, n)])
		return err == nil
	}
	logs(t, s, "a \x1b[31mred line")
	for strings.Count(shown, "\x1b[H") < 3 || !strings.Contains(shown, `a \x1b[31mred line`) {
		if !read() {
			t.Fatalf("the terminal shows %q", shown)
		}
	}
	if err := cmd.Process.Signal(unix.SIGINT); err != nil {
		t.Fatal(err)
	}
	for read() {
	}
	if code := exitCode(t, cmd.Wait()); code != toolDone || !strings.HasSuffix(shown, "\x1b[?1049l") || !strings.Contains(shown, s.ID) {
		t.Errorf("exit code %d, shown %q", code, shown)
	}
}
