//go:build testhost

package test

import (
	"bufio"
	"encoding/json"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// TestDBusSidecarctl has root do everything over D-Bus, and see the same as over
// varlink.
func TestDBusSidecarctl(t *testing.T) {
	begin(t)
	namespace(t, "t-tool")
	p := probe(t, "t-tool", "--text=$HOME 'quoted' é")
	id := interfaces.NewID(tester, "probe", pidFileOf(p.Arguments))
	stopAtEnd(t, tester, id.String())
	failing := probe(t, "t-tool", "--exit=7")
	stopAtEnd(t, tester, interfaces.NewID(tester, "probe", pidFileOf(failing.Arguments)).String())
	onBus := func(arguments ...string) toolRun {
		t.Helper()
		return sidecarctl(t, 0, append([]string{"--transport", "dbus", "-o", "json"}, arguments...)...)
	}
	launched := onBus(launchWords("launch", p)...)
	var s interfaces.Sidecar
	if err := json.Unmarshal([]byte(launched.stdout), &s); err != nil || launched.code != toolDone {
		t.Fatalf("launch: %v, %v", launched, err)
	}
	checkRunning(t, &s, p)
	for _, words := range [][]string{
		{"list"},
		{"list", "--agent", tester, "--profile", "probe", "--netns", "t-tool"},
		{"list", "--agent", neutron},
		{"show", id.Unit()},
		{"profiles"},
		{"profiles", "--agent", tester, "probe"},
		launchWords("explain", p),
		launchWords("explain", with(p, func(p *interfaces.LaunchParameters) { p.Arguments = []string{"--never"} })),
		launchWords("launch", with(p, func(p *interfaces.LaunchParameters) { p.NetworkNamespace = new("nobodys") })),
		launchWords("launch", failing),
		{"stop", "tester.probe.0123456789ab"},
		{"signal", id.String(), "SIGSTOP"},
		{"list", "--agent", "No such"},
		{"launch", "probe"},
	} {
		if got, want := onBus(words...), sidecarctl(t, 0, append([]string{"-o", "json"}, words...)...); got != want {
			t.Errorf("%q over D-Bus: %v, over varlink: %v", words, got, want)
		}
	}
	if got := onBus("signal", id.String(), "hup"); got.code != toolDone {
		t.Errorf("signal: %v", got)
	}
	if got := onBus("stop", id.String()); got.code != toolDone {
		t.Errorf("stop: %v", got)
	}
	gone(t, tester, id.String())
	if got := onBus("show", id.String()); got.code != toolGone {
		t.Errorf("show what is gone: %v", got)
	}
	if got, want := sidecarctl(t, 0, "--transport=dbus", "version"), sidecarctl(t, 0, "version"); got != want || !strings.Contains(got.stdout, "sidecar ") {
		t.Errorf("version over D-Bus: %v, over varlink: %v", got, want)
	}
}

// TestDBusSidecarctlOfUsers has users run it whom polkit lets do something, or nothing.
func TestDBusSidecarctlOfUsers(t *testing.T) {
	begin(t)
	namespace(t, "t-tool")
	rules(t, map[string]string{
		"10-test.rules":      byName,
		"50-operators.rules": exampleRule(t, "50-sidecar-operators.rules"),
	})
	for uid, c := range map[uint32]struct{ launch, others int }{
		allowed:  {toolDone, toolDone},
		operator: {toolRefused, toolDone},
		stranger: {toolRefused, toolRefused},
		denied:   {toolRefused, toolRefused},
	} {
		p := probe(t, "t-tool")
		s := start(t, tester, p)
		for _, words := range [][]string{
			launchWords("launch", p), launchWords("explain", p),
			{"list"},
			{"show", s.ID},
			{"profiles"},
			{"signal", s.ID, "WINCH"},
			{"stop", s.ID},
		} {
			want := c.others
			if words[0] == "launch" {
				want = c.launch
			}
			got := sidecarctl(t, uid, append([]string{"--transport=dbus"}, words...)...)
			if got.code != want || want == toolRefused && !strings.Contains(got.stderr, "\nhint: ") {
				t.Errorf("user %d, %q: %v, want exit code %d", uid, words, got, want)
			}
		}
	}
	// On the host's socket the same, or the way to the bus.
	got := sidecarctl(t, allowed, "list")
	if pidfds := polkitVersion(t) >= 124; pidfds && got.code != toolDone ||
		!pidfds && (got.code != toolRefused || !strings.Contains(got.stderr, "hint: 'sidecarctl --transport dbus'")) {
		t.Errorf("on the host's socket: %v", got)
	}
}

// TestDBusSidecarctlStartsTheService has a user ask while there is no daemon.
func TestDBusSidecarctlStartsTheService(t *testing.T) {
	begin(t)
	rules(t, map[string]string{"10-test.rules": byName})
	run(t, "systemctl", "stop", "sidecard")
	if got := sidecarctl(t, allowed, "--transport=dbus", "list"); got.code != toolDone {
		t.Errorf("%v", got)
	}
	pid, err := daemonPID()
	if err != nil {
		t.Fatal(err)
	}
	expectedDaemon = pid
	run(t, "systemctl", "mask", "--runtime", "--now", "sidecard")
	got := sidecarctl(t, allowed, "--transport=dbus", "list")
	run(t, "systemctl", "unmask", "--runtime", "sidecard")
	run(t, "systemctl", "start", "sidecard")
	if expectedDaemon, err = daemonPID(); err != nil {
		t.Fatal(err)
	}
	if got.code != toolAway || !strings.Contains(got.stderr, "hint: is sidecard running, and on the bus?") {
		t.Errorf("without it: %v", got)
	}
	t.Log(got)
}

// TestDBusSidecarctlMonitors has an operator watch a life over D-Bus, and the daemon
// restart.
func TestDBusSidecarctlMonitors(t *testing.T) {
	begin(t)
	namespace(t, "t-tool")
	rules(t, map[string]string{"10-test.rules": byName})
	first := start(t, tester, probe(t, "t-tool"))
	cmd := sidecarctlAs(t, allowed, "--transport=dbus", "-o", "json", "monitor", "--agent", tester)
	events := linesOf(t, cmd)
	if e := nextEvent(t, events); e.Kind != interfaces.EventPresent || *e.ID != first.ID || *e.Sidecar.Runtime.ProcessID != *first.Runtime.ProcessID {
		t.Errorf("the state: %+v", e)
	}
	if e := nextEvent(t, events); e.Kind != interfaces.EventSynchronized {
		t.Errorf("the state: %+v", e)
	}
	other := start(t, limited, probe(t, "t-tool"))
	p := probe(t, "t-tool")
	s := start(t, tester, p)
	awaitEvent(t, events, s.ID, interfaces.EventStarted)
	ready := awaitEvent(t, events, s.ID, interfaces.EventReady)
	if r := ready.Sidecar; r == nil || r.Runtime.ProcessID == nil || *r.Runtime.ProcessID != *s.Runtime.ProcessID {
		t.Errorf("ready: %+v", ready)
	}
	killMain(t, s.Runtime.Unit)
	failed := awaitEvent(t, events, s.ID, interfaces.EventFailed)
	if r := failed.Sidecar; r == nil || r.Runtime.ExitSignal == nil || *r.Runtime.ExitSignal != "SIGKILL" {
		t.Errorf("failed: %+v", failed)
	}
	for agent, id := range map[string]string{limited: other.ID, tester: s.ID} {
		if _, err := as(t, agent).Stop(minute(t), interfaces.StopParameters{ID: id}); err != nil {
			t.Error(err)
		}
	}
	awaitEvent(t, events, s.ID, interfaces.EventStopped)
	run(t, "systemctl", "restart", "sidecard")
	awaitDaemon(t)
	if code := exitCode(t, cmd.Wait()); code != toolAway {
		t.Errorf("the daemon has restarted: exit code %d", code)
	}
}

// linesOf starts a monitor and returns its lines.
func linesOf(t *testing.T, cmd *exec.Cmd) <-chan string {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() })
	lines := make(chan string, 1000)
	go func() {
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	return lines
}

func nextEvent(t *testing.T, lines <-chan string) (e interfaces.Event) {
	t.Helper()
	line := within(t, "an event", lines)
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return e
}

// awaitEvent waits for an event of a sidecar, of which others may come before; but
// none of any other agent's.
func awaitEvent(t *testing.T, lines <-chan string, id string, kind interfaces.EventKind) interfaces.Event {
	t.Helper()
	for {
		e := nextEvent(t, lines)
		if e.ID == nil || !strings.HasPrefix(*e.ID, tester+".") {
			t.Errorf("told of %+v", e)
		}
		if e.ID != nil && *e.ID == id && e.Kind == kind {
			return e
		}
	}
}

// bySelf lets a user do everything who gives the own password.
const bySelf = `polkit.addRule(function(action, subject) {
	if (action.id.indexOf("io.tripleo.sidecar.") == 0 && subject.user == "t-stranger") { return polkit.Result.AUTH_SELF; }
	return polkit.Result.NOT_HANDLED;
});
`

// TestDBusSidecarctlAsksForAPassword has a user at a terminal, whom pkttyagent asks.
func TestDBusSidecarctlAsksForAPassword(t *testing.T) {
	begin(t)
	namespace(t, "t-tool")
	rules(t, map[string]string{"10-self.rules": bySelf})
	addUsers(t)
	const password = "it's secret"
	run(t, "sh", "-c", `echo "$1" | chpasswd`, "sh", userNames[stranger]+":"+password)
	transports := []string{"dbus"}
	if polkitVersion(t) >= 124 {
		transports = append(transports, "varlink")
	}
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) { askForAPassword(t, transport, password) })
	}
	eventually(t, 5*time.Second, "the agents have ended", func() bool {
		_, err := output("pgrep", "-x", "pkttyagent")
		return err != nil
	})
}

func askForAPassword(t *testing.T, transport, password string) {
	p := probe(t, "t-tool")
	id := interfaces.NewID(tester, "probe", pidFileOf(p.Arguments)).String()
	stopAtEnd(t, tester, id)
	launch := append([]string{"--transport", transport, "-o", "json"}, launchWords("launch", p)...)
	if got := sidecarctl(t, stranger, launch...); got.code != toolRefused || !strings.Contains(got.stderr, "interactive authentication required") {
		t.Errorf("without a terminal: %v", got)
	}
	if got := sitDown(t, stranger, append([]string{"--no-ask-password"}, launch...)...).leaves(); got.code != toolRefused {
		t.Errorf("with --no-ask-password: %v", got)
	}

	wrong := sitDown(t, stranger, launch...)
	wrong.reads("Password: ")
	wrong.types("guess")
	if got := wrong.leaves(); got.code != toolRefused {
		t.Errorf("with a wrong password: %v", got)
	}
	if units, err := sidecarUnits(); err != nil || len(units) != 0 {
		t.Errorf("started %v, %v", units, err)
	}

	right := sitDown(t, stranger, launch...)
	if shown := right.reads("Password: "); !strings.Contains(shown, "launch probe for the agent tester") {
		t.Errorf("the question is %q", shown)
	}
	right.types(password)
	got := right.leaves()
	var s interfaces.Sidecar
	if err := json.Unmarshal([]byte(got.stdout), &s); err != nil || got.code != toolDone || got.stderr != "" {
		t.Fatalf("with the password: %v, %v", got, err)
	}
	checkRunning(t, &s, p)

	given := sitDown(t, stranger, "--transport", transport, "stop", id)
	given.reads("Password: ")
	given.silent()
	_ = given.cmd.Process.Signal(syscall.SIGINT) // as the kernel does when ^C is typed
	if got := given.leaves(); got.code == toolDone || !given.echoes() {
		t.Errorf("given up: %v, the terminal echoes: %v", got, given.echoes())
	}
}
