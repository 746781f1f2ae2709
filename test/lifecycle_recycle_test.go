//go:build testhost

package test

import (
	"bufio"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// recycle runs sidecarctl recycle, and holds it to end so.
func recycle(t *testing.T, code int, summary string, arguments ...string) toolRun {
	t.Helper()
	r := sidecarctl(t, 0, append([]string{"recycle"}, arguments...)...)
	t.Logf("recycle %s: %v", strings.Join(arguments, " "), r)
	if r.code != code || !strings.Contains(r.stdout, "\n"+summary) {
		t.Fatalf("recycle: %v; want exit code %d and %q", r, code, summary)
	}
	return r
}

// probes starts sidecars of the tests' agent, sorted by ID.
func probes(t *testing.T, netns string, n int) ([]*interfaces.Sidecar, map[string]interfaces.LaunchParameters) {
	t.Helper()
	var all []*interfaces.Sidecar
	parameters := map[string]interfaces.LaunchParameters{}
	for range n {
		p := probe(t, netns)
		s := start(t, tester, p)
		all, parameters[s.ID] = append(all, s), p
	}
	slices.SortFunc(all, func(a, b *interfaces.Sidecar) int { return strings.Compare(a.ID, b.ID) })
	return all, parameters
}

// isSameRun reports whether a sidecar is still in the run that s describes.
func isSameRun(t *testing.T, s *interfaces.Sidecar) bool {
	t.Helper()
	return *get(t, tester, s.ID).Runtime.InvocationID == *s.Runtime.InvocationID
}

// TestLifecycleRecycleGivesTheNewImage: the name of the image moves, and afterwards each DHCP
// server runs the new image with its own request, pid file and leases.
func TestLifecycleRecycleGivesTheNewImage(t *testing.T) {
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		old := newImage(t, changingImage, "OLD")
		withPolicy(t, "profiles.d", "dnsmasq", imageLine.ReplaceAllString(shippedFiles(t)["dnsmasq"], `image = "`+changingImage+`"`))
		n := newNetwork(t)
		n.assign(t, "192.0.2.10")
		parameters := map[string]interfaces.LaunchParameters{}
		for _, p := range []interfaces.LaunchParameters{n.parameters(), bareNetwork(t).parameters(), bareNetwork(t).parameters("--log-dhcp")} {
			parameters[start(t, neutron, p).ID] = p
		}
		if got := n.lease(t); got != "192.0.2.10" {
			t.Fatalf("the machine got %s", got)
		}
		leases := readFile(t, n.file("leases"))
		checkImage(t, changingImage, old, 3, 0)
		next := newImage(t, changingImage, "NEW")
		stopAllAtEnd(t, neutron) // before the image is removed
		checkImage(t, changingImage, next, 0, 3)
		if usedEngine == runtimeEngine { // the service has not prepared it
			r := recycle(t, 1, "replaced: 0; failed: 1; remains: 2", "--outdated")
			if !strings.Contains(r.stderr, "the new run has the old image") {
				t.Errorf("%v", r)
			}
			reload(t)
		}
		recycle(t, toolDone, "replaced: 3; away: median ", "--outdated", "--agent", neutron, "--profile", "dnsmasq", "--max-unavailable", "2")
		for id, p := range parameters {
			s := get(t, neutron, id)
			checkRunning(t, s, p)
			if imageID(t, s) != next || !hasMark(s, "NEW") || s.Runtime.ImageOutdated {
				t.Errorf("%s runs %s, outdated %v", id, imageID(t, s), s.Runtime.ImageOutdated)
			}
		}
		if now := readFile(t, n.file("leases")); now != leases {
			t.Errorf("leases %q, before %q", now, leases)
		}
		if got := n.lease(t); got != "192.0.2.10" {
			t.Errorf("the machine got %s", got)
		}
		checkImage(t, changingImage, next, 3, 0)
		recycle(t, toolDone, "replaced: 3; away: median ", "--agent", neutron) // one after the other
		if r := sidecarctl(t, 0, "recycle", "--outdated"); r.code != toolDone || !strings.Contains(r.stdout, "replaced: 0") {
			t.Errorf("when all is new: %v", r)
		}
	})
}

var startedBefore = regexp.MustCompile(`--started-before (\S+)`)

// TestLifecycleRecycleStopsAndIsResumed: at a failure in the middle.
func TestLifecycleRecycleStopsAndIsResumed(t *testing.T) {
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		namespace(t, "t-recycle")
		all, parameters := probes(t, "t-recycle", 5)
		lost := filepath.Dir(pidFileOf(parameters[all[2].ID].Arguments))
		if err := os.Rename(lost, lost+".away"); err != nil {
			t.Fatal(err)
		}
		if r := sidecarctl(t, 0, "recycle", "--agent", tester, "--dry-run"); r.code != toolDone || !isSameRun(t, all[0]) {
			t.Errorf("dry run: %v", r)
		}
		r := recycle(t, 5, "replaced: 2; failed: 1; remains: 2", "--agent", tester)
		if !strings.Contains(r.stderr, "error: "+all[2].ID+": launch failed: in preparation") {
			t.Errorf("%v", r)
		}
		for i, want := range []bool{false, false, false, true, true} {
			if same := isSameRun(t, all[i]); same != want {
				t.Errorf("sidecar %d: in the same run %v, want %v", i, same, want)
			}
		}
		first := get(t, tester, all[0].ID)
		found := startedBefore.FindStringSubmatch(r.stdout)
		if found == nil {
			t.Fatalf("it does not say how to go on: %v", r)
		}
		recycle(t, toolDone, "replaced: 2", "--agent", tester, "--started-before", found[1])
		if !isSameRun(t, first) || isSameRun(t, all[3]) || isSameRun(t, all[4]) {
			t.Error("not those that remained were replaced")
		}
		if err := os.Rename(lost+".away", lost); err != nil {
			t.Fatal(err)
		}
		recycle(t, toolDone, "replaced: 1", all[2].ID)
		for _, s := range all {
			checkRunning(t, get(t, tester, s.ID), parameters[s.ID])
		}
	})
}

// TestLifecycleRecycleYieldsToTheAgent: what an agent launches or stops while a recycle runs stays so.
func TestLifecycleRecycleYieldsToTheAgent(t *testing.T) {
	begin(t)
	namespace(t, "t-recycle")
	all, parameters := probes(t, "t-recycle", 4)
	cmd := sidecarctlAs(t, 0, "recycle", "--agent", tester, "--pause", "2s")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.Contains(lines.Text(), "replaced") {
	}
	changed := parameters[all[2].ID]
	changed.Arguments = append(slices.Clone(changed.Arguments), "--text=of the agent")
	agents, err := as(t, tester).Launch(minute(t), changed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := as(t, tester).Stop(minute(t), interfaces.StopParameters{ID: all[3].ID}); err != nil {
		t.Fatal(err)
	}
	text := ""
	for lines.Scan() {
		text += lines.Text() + "\n"
	}
	if code := exitCode(t, cmd.Wait()); code != toolDone || !strings.Contains(text, "replaced: 2; skipped: 2") {
		t.Errorf("exit code %d, %s", code, text)
	}
	checkRunning(t, get(t, tester, agents.ID), changed)
	if !isSameRun(t, agents) {
		t.Error("the agent's launch was replaced")
	}
	gone(t, tester, all[3].ID)
}

// TestLifecycleRecycleKeepsWhatIsRefused: a sidecar that could not be launched today runs on.
func TestLifecycleRecycleKeepsWhatIsRefused(t *testing.T) {
	begin(t)
	for _, name := range []string{"t-granted", "t-revoked", "t-deleted"} {
		namespace(t, name)
	}
	byNamespace := map[string]*interfaces.Sidecar{}
	for _, name := range []string{"t-granted", "t-revoked", "t-deleted"} {
		byNamespace[name] = start(t, tester, probe(t, name))
	}
	run(t, "ip", "netns", "delete", "t-deleted")
	withPolicy(t, "agents.d", tester, strings.Replace(agentFiles[tester], `"t-*"`, `"t-granted", "t-deleted"`, 1))
	r := sidecarctl(t, 0, "recycle", "--agent", tester, "--max-unavailable", "3")
	if r.code == toolDone || !strings.Contains(r.stdout, "replaced: 1; kept: 2") {
		t.Errorf("recycle: %v", r)
	}
	for _, want := range []string{
		byNamespace["t-revoked"].ID + " runs on: network namespace \"t-revoked\" not allowed",
		byNamespace["t-deleted"].ID + " runs on: network namespace \"t-deleted\"",
	} {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("%v; want %q", r, want)
		}
	}
	for name, s := range byNamespace {
		if same := isSameRun(t, s); same != (name != "t-granted") {
			t.Errorf("%s: in the same run %v", name, same)
		}
	}
}

// TestLifecycleRecycleAtMostSoManyAtOnce: never more sidecars are away than was said.
func TestLifecycleRecycleAtMostSoManyAtOnce(t *testing.T) {
	begin(t)
	namespace(t, "t-recycle")
	all, _ := probes(t, "t-recycle", 6)
	const limit = 2
	away, most := map[string]bool{}, 0
	done := make(chan struct{})
	ctx := minute(t)
	ready := make(chan struct{})
	go func() {
		defer close(done)
		for event, err := range at(t, hostSocket).Monitor(ctx, interfaces.MonitorParameters{Agent: new(tester)}) {
			if err != nil {
				return
			}
			switch event.Kind {
			case interfaces.EventSynchronized:
				close(ready)
				continue
			case interfaces.EventReady:
				delete(away, *event.ID)
			case interfaces.EventStopped, interfaces.EventStarted:
				away[*event.ID] = true
			default:
				continue
			}
			most = max(most, len(away))
			if event.Kind == interfaces.EventReady && *event.ID == all[5].ID {
				return
			}
		}
	}()
	<-ready
	recycle(t, toolDone, "replaced: 6", "--agent", tester, "--max-unavailable", "2")
	<-done
	if most > limit || most == 0 {
		t.Errorf("%d were away at once, want at most %d", most, limit)
	}
}

// TestLifecycleRecycleOfAnAgentWithStandIns: another stand-in takes over, and signals reach the
// new process.
func TestLifecycleRecycleOfAnAgentWithStandIns(t *testing.T) {
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		c := newContainer(t, withStandIns(t))
		n := newNetwork(t)
		n.assign(t, "192.0.2.10")
		line := "dnsmasq " + strings.Join(n.arguments(), " ")
		c.do(t, n.namespace, "dnsmasq", n.arguments()...)
		first := c.standIn(t, line, n.file("pid"))
		before := only(t, standInAgent)
		recycle(t, toolDone, "replaced: 1; away: ", "--agent", standInAgent)
		eventually(t, 20*time.Second, "another stand-in is there", func() bool {
			found := c.showing(t, line)
			_, old := found[first]
			for _, inside := range found {
				written, err := readPID(n.file("pid"))
				return len(found) == 1 && !old && err == nil && written == inside
			}
			return false
		})
		second := c.standIn(t, line, n.file("pid"))
		after := only(t, standInAgent)
		if numberOf(after) == numberOf(before) {
			t.Error("the sidecar was not replaced")
		}
		n.assign(t, "192.0.2.20")
		if err := syscall.Kill(second, syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, 20*time.Second, "the machine gets its new address", func() bool { return n.lease(t) == "192.0.2.20" })
		if now := only(t, standInAgent); numberOf(now) != numberOf(after) {
			t.Error("it was replaced once more")
		}
		if err := syscall.Kill(second, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		eventually(t, 5*time.Second, "the stand-in is gone", func() bool { return !alive(second) })
		gone(t, standInAgent, before.ID)
	})
}
