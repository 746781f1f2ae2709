package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
)

// standInTest is a service with an agent that has stand-ins, and its pid files.
type standInTest struct {
	*fakeService
	id           string // each test has its own: stand-ins are looked for among all processes
	main, second string // pid files
}

func newStandInTest(t *testing.T) *standInTest {
	t.Helper()
	dir := t.TempDir()
	s := &standInTest{id: interfaces.NewID("a", "dnsmasq", t.Name()).String(), main: filepath.Join(dir, "pid"), second: filepath.Join(dir, "pid-vrrp")}
	s.fakeService = serveFake(t, nil)
	t.Cleanup(func() {
		if pid := s.pid(); pid > 1 {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	})
	return s
}

// launched is the reply to a launch.
func (s *standInTest) launched(invocation string, adopted bool) string {
	return fmt.Sprintf(standInFor, sidecarIs(s.id, "ready", invocation), adopted, strconv.Quote(s.main)+","+strconv.Quote(s.second))
}

// listed is the reply to a List.
func (s *standInTest) listed(state, invocation string) string {
	return `{"parameters": {"sidecar": ` + sidecarIs(s.id, state, invocation) + `}}`
}

// readyFor is the reply to a List about a run that has been ready that long.
func (s *standInTest) readyFor(invocation string, d time.Duration) string {
	return strings.Replace(s.listed("ready", invocation), `"state"`, fmt.Sprintf(`"readyUSec": %d, "state"`, time.Now().Add(-d).UnixMicro()), 1)
}

func (s *standInTest) pid() int {
	text, _ := os.ReadFile(s.main)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}

// start launches, and returns the stand-in's process ID.
func (s *standInTest) start(t *testing.T, args ...string) int {
	t.Helper()
	if out, code := s.run(t, "dnsmasq", args...); out != "" || code != 0 {
		t.Fatalf("exit code %d, %q", code, out)
	}
	pid := s.pid()
	if second, err := os.ReadFile(s.second); err != nil || string(second) != fmt.Sprintf("%d\n", pid) {
		t.Errorf("the second pid file has %q, %v; the first %d", second, err, pid)
	}
	if !ownProcesses.process(pid).exists() {
		t.Fatalf("there is no process %d", pid)
	}
	return pid
}

func TestShimStandInLooksLikeTheProgram(t *testing.T) {
	t.Parallel()
	s := newStandInTest(t)
	s.set(by(map[string]string{"Launch": s.launched("i1", false), "List": s.listed("ready", "i1"), "Signal": empty}))
	args := []string{"--no-hosts", "", "--pid-file=/x/0b1c/pid"}
	pid := s.start(t, args...)
	dir := fmt.Sprintf("/proc/%d/", pid)
	if diff := cmp.Diff(append([]string{"dnsmasq"}, args...), ownProcesses.process(pid).commandLine()); diff != "" {
		t.Errorf("command line (-want +got):\n%s", diff)
	}
	if comm, _ := os.ReadFile(dir + "comm"); string(comm) != "dnsmasq\n" {
		t.Errorf("its name is %q", comm)
	}
	if cwd, _ := os.Readlink(dir + "cwd"); cwd != "/" {
		t.Errorf("its directory is %s", cwd)
	}
	if session, _ := unix.Getsid(pid); session != pid {
		t.Errorf("its session is %d", session)
	}
	files, _ := os.ReadDir(dir + "fd")
	for _, file := range files {
		target, _ := os.Readlink(dir + "fd/" + file.Name())
		if number, _ := strconv.Atoi(file.Name()); number < 3 && target != "/dev/null" || strings.HasPrefix(target, "pipe:") {
			t.Errorf("file descriptor %s is %s", file.Name(), target)
		}
	}
	info, err := os.Stat(s.main)
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("pid file %v, %v", info, err)
	}
	left, _ := filepath.Glob(filepath.Dir(s.main) + "/.*")
	if len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestShimStandInPassesSignalsOn(t *testing.T) {
	t.Parallel()
	s := newStandInTest(t)
	s.set(by(map[string]string{"Launch": s.launched("i1", false), "List": s.listed("ready", "i1"), "Signal": empty}))
	pid := s.start(t)
	for _, signal := range []syscall.Signal{unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM} {
		if err := unix.Kill(pid, signal); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf(`Signal {"id":%q,"signal":%q}`, s.id, unix.SignalName(signal))
		eventually(t, want, func() bool { return s.asked(want) == 1 })
	}
	if !ownProcesses.process(pid).exists() {
		t.Error("it has ended, the sidecar has not")
	}
}

func TestShimStandInEndsWithItsSidecar(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]func(*standInTest) string{
		"gone":   func(*standInTest) string { return gone },
		"failed": func(s *standInTest) string { return s.listed("failed", "i1") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStandInTest(t)
			s.set(by(map[string]string{"Launch": s.launched("i1", false), "List": s.listed("ready", "i1"), "Signal": empty}))
			pid := s.start(t)
			s.set(by(map[string]string{"List": after(s), "Signal": gone}))
			if err := unix.Kill(pid, unix.SIGTERM); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the stand-in has ended", func() bool { return !ownProcesses.process(pid).exists() })
		})
	}
}

func TestShimStandInKeepsASignalForAServiceThatIsAway(t *testing.T) {
	t.Parallel()
	s := newStandInTest(t)
	s.set(by(map[string]string{"Launch": s.launched("i1", false)}))
	pid := s.start(t)
	if err := unix.Kill(pid, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has tried twice", func() bool { return s.asked("Signal") >= 2 })
	if !ownProcesses.process(pid).exists() {
		t.Error("it has ended without an answer")
	}
	s.set(by(map[string]string{"Signal": empty, "List": gone}))
	eventually(t, "the stand-in has ended", func() bool { return !ownProcesses.process(pid).exists() })
}

// TestHardeningShimStandInOfASidecarThatIsStarting shows that a HUP waits until the
// sidecar is ready, and that a TERM does not.
func TestHardeningShimStandInOfASidecarThatIsStarting(t *testing.T) {
	t.Parallel()
	s := newStandInTest(t)
	s.set(by(map[string]string{"Launch": s.launched("i1", false), "List": s.listed("ready", "i1"), "Signal": empty}))
	pid := s.start(t)
	s.set(by(map[string]string{"List": s.listed("starting", "i1"), "Signal": gone, "Stop": empty}))
	if err := unix.Kill(pid, unix.SIGHUP); err != nil {
		t.Fatal(err)
	}
	hangup := fmt.Sprintf(`Signal {"id":%q,"signal":"SIGHUP"}`, s.id)
	eventually(t, "the HUP was tried again", func() bool { return s.asked(hangup) >= 2 })
	s.set(by(map[string]string{"List": s.listed("ready", "i1"), "Signal": empty}))
	before := s.asked(hangup)
	eventually(t, "the HUP was passed on", func() bool { return s.asked(hangup) > before })
	s.set(by(map[string]string{"List": s.listed("starting", "i1"), "Signal": gone, "Stop": empty}))
	if err := unix.Kill(pid, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the sidecar was stopped", func() bool { return s.asked(fmt.Sprintf(`Stop {"id":%q}`, s.id)) == 1 })
	if !ownProcesses.process(pid).exists() {
		t.Error("the stand-in has ended, and the sidecar is still there")
	}
}

func TestShimStandInOfAnAdoptedSidecar(t *testing.T) {
	t.Parallel()
	s := newStandInTest(t)
	s.set(by(map[string]string{
		"Launch": s.launched("i1", true), "List": s.listed("ready", "i1"), "Signal": empty,
		`Launch {"profile":"dnsmasq","arguments":["--x"],"mode":"replace"`: s.launched("i2", false),
	}))
	// The agent's container is new: no stand-in is there.
	first := s.start(t, "--x")
	if got := s.asked(fmt.Sprintf(`Signal {"id":%q,"signal":"SIGHUP"}`, s.id)); got != 1 {
		t.Errorf("%d SIGHUP, want one", got)
	}
	// It has its stand-in: a launch is a restart, and the old stand-in goes.
	s.set(by(map[string]string{
		"Launch": s.launched("i1", true), "List": s.listed("ready", "i2"), "Signal": empty,
		`Launch {"profile":"dnsmasq","arguments":["--x"],"mode":"replace"`: s.launched("i2", false),
	}))
	second := s.start(t, "--x")
	if second == first {
		t.Errorf("process %d is the old stand-in", second)
	}
	eventually(t, "the old stand-in has made way", func() bool { return !ownProcesses.process(first).exists() })
	if got := s.asked(`Launch {"profile":"dnsmasq","arguments":["--x"],"mode":"replace"`); got != 1 {
		t.Errorf("it was replaced %d times, want once", got)
	}
}

// A stand-in that was killed has told nobody: a sidecar that was started in this
// container and has none is started again.
func TestShimStandInThatWasKilledIsARestart(t *testing.T) {
	t.Parallel()
	s := newStandInTest(t)
	adopted := strings.Replace(s.launched("i1", true), `"state"`, fmt.Sprintf(`"startedUSec": %d, "state"`, time.Now().UnixMicro()), 1)
	const replace = `Launch {"profile":"dnsmasq","arguments":["--x"],"mode":"replace"`
	s.set(by(map[string]string{"Launch": adopted, "List": s.listed("ready", "i2"), "Signal": empty, replace: s.launched("i2", false)}))
	s.start(t, "--x")
	if got := s.asked(replace); got != 1 || s.asked("Signal") != 0 {
		t.Errorf("it was replaced %d times, want once, and got %d signals", got, s.asked("Signal"))
	}
}

// Whatever became of the sidecar that it was there for, an old stand-in goes before
// there is a new one.
func TestShimStandInIsTheOnlyOne(t *testing.T) {
	t.Parallel()
	s := newStandInTest(t)
	s.set(by(map[string]string{"Launch": s.launched("i1", false), "List": s.listed("ready", "i1")}))
	first := s.start(t)
	s.set(by(map[string]string{"Launch": s.launched("i2", false), "List": s.listed("ready", "i2")}))
	if second := s.start(t); ownProcesses.process(first).exists() {
		t.Errorf("process %d has not made way for %d", first, second)
	}
	// A launch that fails leaves what is there as it is.
	s.set(by(map[string]string{
		"Launch": s.launched("i2", true), "List": s.listed("ready", "i2"),
		`Launch {"profile":"dnsmasq","arguments":[],"mode":"replace"`: `{"error": "io.tripleo.Sidecar.Overloaded", "parameters": {"reason": "r"}}`,
	}))
	old := s.pid()
	if out, code := s.run(t, "dnsmasq"); code != 1 || !ownProcesses.process(old).exists() {
		t.Errorf("exit code %d, %q; the stand-in must stay", code, out)
	}
}

func TestShimStandInKeepsOneSignalOfAKind(t *testing.T) {
	t.Parallel()
	s := &standIn{}
	for range 100 {
		s.take(unix.SIGHUP)
	}
	s.take(unix.SIGALRM)
	s.take(unix.SIGTERM)
	if diff := cmp.Diff([]string{"SIGHUP", "SIGTERM"}, s.pending); diff != "" {
		t.Errorf("pending (-want +got):\n%s", diff)
	}
}

// SIGHUP ends conntrackd: an adopted one gets none.
func TestShimStandInOfAnAdoptedConntrackd(t *testing.T) {
	t.Parallel()
	s := newStandInTest(t)
	s.set(by(map[string]string{"Launch": s.launched("i1", true), "List": s.listed("ready", "i1")}))
	if out, code := s.run(t, "conntrackd", "-d", "-C", "/c"); out != "" || code != 0 {
		t.Errorf("exit code %d, %q", code, out)
	}
	if s.asked("Signal") != 0 {
		t.Error("it got a signal")
	}
}

// What was adopted can end before it gets its SIGHUP.
func TestShimStandInOfASidecarThatHasJustEnded(t *testing.T) {
	t.Parallel()
	s := newStandInTest(t)
	s.set(by(map[string]string{
		"Launch": s.launched("i1", true), "List": s.listed("ready", "i2"), "Signal": gone,
		`Launch {"profile":"dnsmasq","arguments":[],"mode":"replace"`: s.launched("i2", false),
	}))
	s.start(t)
	if got := s.asked(`Launch {"profile":"dnsmasq","arguments":[],"mode":"replace"`); got != 1 {
		t.Errorf("it was started again %d times, want once", got)
	}
}

func TestShimStandInWithoutAPlaceForItsNumberIsAFailure(t *testing.T) {
	t.Parallel()
	s := newStandInTest(t)
	s.main = "/nonexistent/pid"
	s.set(by(map[string]string{"Launch": s.launched("i1", false), "List": s.listed("ready", "i1")}))
	out, code := s.run(t, "dnsmasq", "--x")
	if code != 1 || !strings.HasPrefix(out, "dnsmasq: sidecar: stand-in for "+s.id+": open /nonexistent/") {
		t.Errorf("exit code %d, %q", code, out)
	}
	eventually(t, "the stand-in is gone", func() bool { return len(ownProcesses.standInsOf(s.id)) == 0 })
}

// TestShimStandInRemovesItsPIDFiles: its number is free when it has ended, and is not removed from
// a file that names another process by then.
func TestShimStandInRemovesItsPIDFiles(t *testing.T) {
	t.Parallel()
	s := newStandInTest(t)
	s.set(by(map[string]string{"Launch": s.launched("i1", false), "List": s.listed("ready", "i1"), "Signal": empty}))
	pid := s.start(t)
	if err := os.WriteFile(s.second, []byte("1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.set(by(map[string]string{"List": s.listed("failed", "i1"), "Signal": gone}))
	if err := unix.Kill(pid, unix.SIGALRM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has ended", func() bool { return !ownProcesses.process(pid).exists() })
	if _, err := os.Lstat(s.main); !os.IsNotExist(err) {
		t.Errorf("its pid file: %v", err)
	}
	if text, err := os.ReadFile(s.second); err != nil || string(text) != "1\n" {
		t.Errorf("another's pid file: %q, %v", text, err)
	}
}

// An operator starts the sidecar again: another stand-in takes over.
func TestShimStandInFollowsAReplacedSidecar(t *testing.T) {
	t.Parallel()
	s := newStandInTest(t)
	s.set(by(map[string]string{"Launch": s.launched("i1", false), "List": s.listed("ready", "i1"), "Signal": empty}))
	args := []string{"--no-hosts", "--pid-file=/x/0b1c/pid"}
	first := s.start(t, args...)
	for _, reply := range []string{gone, s.listed("starting", "i2"), s.readyFor("i2", time.Hour)} { // gone between two units
		s.set(by(map[string]string{"List": reply, "Signal": empty}))
		before := s.asked("List")
		if err := unix.Kill(first, unix.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it has looked", func() bool { return s.asked("List") > before })
	}
	eventually(t, "the first has made way", func() bool { return !ownProcesses.process(first).exists() })
	second := s.pid()
	if who, ok := ownProcesses.process(second).standIn(); !ok || who != (identity{s.id, "i2"}) || second == first {
		t.Errorf("process %d, before %d, stands in for %v", second, first, who)
	}
	if diff := cmp.Diff(append([]string{"dnsmasq"}, args...), ownProcesses.process(second).commandLine()); diff != "" {
		t.Errorf("command line (-want +got):\n%s", diff)
	}
	if text, err := os.ReadFile(s.second); err != nil || string(text) != fmt.Sprintf("%d\n", second) {
		t.Errorf("the second pid file has %q, %v", text, err)
	}
	if got := ownProcesses.standInsOf(s.id); len(got) != 1 {
		t.Errorf("stand-ins %v, want one", got)
	}
	s.set(by(map[string]string{"List": gone, "Signal": empty}))
	if err := unix.Kill(second, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second has ended", func() bool { return !ownProcesses.process(second).exists() })
}

// A launch of the agent replaces the stand-in itself, and is not taken for the host's.
func TestShimStandInLeavesAYoungRunToItsLauncher(t *testing.T) {
	t.Parallel()
	s := &standInTest{id: interfaces.NewID("a", "dnsmasq", t.Name()).String()}
	s.fakeService = serveFake(t, by(map[string]string{"List": s.readyFor("i2", 0)}))
	svc, err := client.New(s.path)
	if err != nil {
		t.Fatal(err)
	}
	stays := &standIn{svc: svc, who: identity{s.id, "i1"}, interval: lookInterval}
	if stays.over() || len(ownProcesses.standInsOf(s.id)) != 0 {
		t.Error("it has left another stand-in")
	}
	if next := stays.next(); next != watchInterval {
		t.Errorf("it looks again after %v, want %v", next, watchInterval)
	}
}

// The agent starts a sidecar again that the host has replaced a moment ago: the new run stays.
func TestShimStandInOfARunThatTheHostStarted(t *testing.T) {
	t.Parallel()
	s := newStandInTest(t)
	s.set(by(map[string]string{"Launch": s.launched("i1", false), "List": s.listed("ready", "i1"), "Signal": empty}))
	first := s.start(t, "--x")
	adopted := strings.Replace(s.launched("i2", true), `"state"`, fmt.Sprintf(`"startedUSec": %d, "state"`, time.Now().UnixMicro()), 1)
	s.set(by(map[string]string{"Launch": adopted, "List": s.listed("ready", "i2"), "Signal": empty}))
	second := s.start(t, "--x")
	if got := s.asked(`Launch {"profile":"dnsmasq","arguments":["--x"],"mode":"replace"`); got != 0 || second == first {
		t.Errorf("it was replaced %d times, want not at all", got)
	}
	eventually(t, "the old stand-in has made way", func() bool { return !ownProcesses.process(first).exists() })
}
