//go:build testhost

package test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// launched launches for the tests' agent without waiting for it, and stops what has
// come of it when the test ends.
func launched(t *testing.T, p interfaces.LaunchParameters) <-chan error {
	t.Helper()
	stopAtEnd(t, tester, idOf(tester, p).String())
	c, ctx := as(t, tester), minute(t)
	done := make(chan error, 1)
	go func() {
		_, err := c.Launch(ctx, p)
		done <- err
	}()
	return done
}

// wasStopped holds a launch to be answered with the fact that it was stopped.
func wasStopped(t *testing.T, launch <-chan error) {
	t.Helper()
	var stopped *interfaces.LaunchStoppedError
	if err := <-launch; !errors.As(err, &stopped) {
		t.Errorf("the launch: %v, want %v", err, interfaces.ErrLaunchStopped)
	}
}

// awaitPayload returns the payload of a sidecar that is starting: the process with this
// word in its command line, in the control group of payloads (see payloadGroup).
func awaitPayload(t *testing.T, id interfaces.ID, word string) int {
	t.Helper()
	var found []int
	eventually(t, 10*time.Second, "the payload runs", func() bool {
		files, _ := filepath.Glob("/sys/fs/cgroup" + controlGroup(id) + payloadGroup() + "/cgroup.procs")
		var members []string
		for _, file := range files {
			text, _ := os.ReadFile(file)
			members = append(members, strings.Fields(string(text))...)
		}
		found = slices.DeleteFunc(processesWith(word), func(pid int) bool {
			return !slices.Contains(members, strconv.Itoa(pid))
		})
		return len(found) > 0
	})
	return found[0]
}

// controlGroup is the unit's, nothing if there is no unit.
func controlGroup(id interfaces.ID) string {
	group, err := output("systemctl", "show", "-P", "ControlGroup", id.Unit())
	if err != nil || group == "" {
		return "/nonexistent"
	}
	return group
}

// stops are the ways to stop a sidecar of the tests' agent. pid is one of its processes,
// 0 if it has none.
func stops(t *testing.T) map[string]func(id interfaces.ID, pid int) error {
	s := shimsOf(t, tester)
	script := func(signal string) func(interfaces.ID, int) error {
		return func(_ interfaces.ID, pid int) error {
			s.killed(t, "dnsmasq-kill", signal, pid)
			return nil
		}
	}
	return map[string]func(interfaces.ID, int) error{
		"service": func(id interfaces.ID, _ int) error {
			_, err := as(t, tester).Stop(minute(t), interfaces.StopParameters{ID: id.String()})
			return err
		},
		"sidecarctl": func(id interfaces.ID, _ int) error {
			if r := sidecarctl(t, 0, "stop", id.String()); r.code != toolDone {
				return errors.New(r.String())
			}
			return nil
		},
		"D-Bus": func(id interfaces.ID, _ int) error {
			return manager(minute(t), nil, "Stop", "sa{sv}", id.String(), "0")
		},
		"script, TERM": script("15"),
		"script, KILL": script("9"),
	}
}

// TestHardeningStopEndsAStart stops a sidecar that does not become ready, in every way.
// The profile gives a gated one two minutes, and the launch is answered within one.
func TestHardeningStopEndsAStart(t *testing.T) {
	begin(t)
	namespace(t, "t-hang")
	for name, stop := range stops(t) {
		for _, profile := range []string{"gated", "mute"} {
			t.Run(name+", "+profile, func(t *testing.T) {
				p := shaped(t, profile, "t-hang")
				launch := launched(t, p)
				pid := awaitPayload(t, idOf(tester, p), pidFileOf(p.Arguments))
				if err := stop(idOf(tester, p), pid); err != nil {
					t.Error(err)
				}
				wasStopped(t, launch)
				if err := becomesClean(); err != nil {
					t.Errorf("left behind: %v", err)
				}
				if alive(pid) {
					t.Error("the process runs still")
				}
			})
		}
	}
}

// TestHardeningStopHUPWaitsForTheStart has a kill script send HUP to a sidecar that is
// starting: it neither ends nor loses it.
func TestHardeningStopHUPWaitsForTheStart(t *testing.T) {
	begin(t)
	namespace(t, "t-hup")
	p := shaped(t, "gated", "t-hup")
	launch := launched(t, p)
	pid := awaitPayload(t, idOf(tester, p), pidFileOf(p.Arguments))
	r := shimsOf(t, tester).kill(t, "dnsmasq-kill", "HUP", pid)
	if r.code != 1 || !strings.Contains(r.err, "is still starting") {
		t.Errorf("HUP: %v, want that it got no signal", r)
	}
	openGate(t, p)
	if err := <-launch; err != nil {
		t.Errorf("the launch: %v", err)
	}
}

// TestHardeningStopTakesALaunchOutOfTheQueue stops a sidecar whose launch waits for a
// slot, all of which but one its agent has: there is no unit yet.
func TestHardeningStopTakesALaunchOutOfTheQueue(t *testing.T) {
	begin(t)
	namespace(t, "t-queue")
	for range 3 {
		p := shaped(t, "gated", "t-queue")
		launched(t, p)
		awaitPayload(t, idOf(tester, p), pidFileOf(p.Arguments))
	}
	for name, stop := range stops(t) {
		if strings.HasPrefix(name, "script") {
			continue // there is no process to name
		}
		t.Run(name, func(t *testing.T) {
			p := probe(t, "t-queue")
			launch := launched(t, p)
			eventually(t, 5*time.Second, "it is stopped", func() bool {
				// Until the launch has taken its place there is nothing to stop.
				return stop(idOf(tester, p), 0) == nil
			})
			wasStopped(t, launch)
			if units, err := sidecarUnits(); err != nil || len(units) != 3 {
				t.Errorf("units %v, %v; want the units of the three launches", units, err)
			}
		})
	}
}

// TestHardeningStopEndsAllLaunches stops a sidecar of which one launch hangs and others
// wait for it, one of them without its caller.
func TestHardeningStopEndsAllLaunches(t *testing.T) {
	begin(t)
	namespace(t, "t-row")
	p := shaped(t, "gated", "t-row")
	ctx, hangUp := context.WithCancel(minute(t))
	left := make(chan error, 1)
	c := as(t, tester)
	go func() {
		_, err := c.Launch(ctx, p)
		left <- err
	}()
	awaitPayload(t, idOf(tester, p), pidFileOf(p.Arguments))
	hangUp()
	<-left
	var wires []*wire
	for range 3 {
		w := dial(t, socketOf(tester), time.Minute)
		if err := w.send(launchOf(p)); err != nil {
			t.Fatal(err)
		}
		eventually(t, 5*time.Second, "the service has read it", func() bool { return w.unread(t) == 0 })
		wires = append(wires, w)
	}
	stopAtEnd(t, tester, idOf(tester, p).String())
	time.Sleep(500 * time.Millisecond) // what was read takes its place
	if _, err := c.Stop(minute(t), interfaces.StopParameters{ID: idOf(tester, p).String()}); err != nil {
		t.Error(err)
	}
	for _, w := range wires {
		if _, err := w.launched(); !errors.Is(err, interfaces.ErrLaunchStopped) {
			t.Errorf("got %v, want %v", err, interfaces.ErrLaunchStopped)
		}
	}
	if err := becomesClean(); err != nil {
		t.Errorf("left behind: %v", err)
	}
}

// TestHardeningStopAtAnyMoment stops launches at moments of all kinds, gently and with a
// kill. Each leaves nothing, and is answered with a sidecar or with the fact that it was
// stopped.
func TestHardeningStopAtAnyMoment(t *testing.T) {
	begin(t)
	namespace(t, "t-moment")
	rounds := 40
	if testing.Short() {
		rounds = 16
	}
	for round := range rounds {
		p := probe(t, "t-moment")
		launch := launched(t, p)
		stop := interfaces.StopParameters{ID: idOf(tester, p).String()}
		if round%2 == 1 {
			stop.TimeoutUSec = new(int64(1))
		}
		time.Sleep(rand.N(600 * time.Millisecond))
		_, early := as(t, tester).Stop(minute(t), stop)
		if early != nil && !errors.Is(early, interfaces.ErrNoSuchSidecar) {
			t.Errorf("round %d: stop: %v", round, early)
		}
		if err := <-launch; err != nil && (early != nil || !errors.Is(err, interfaces.ErrLaunchStopped)) {
			t.Errorf("round %d: launch: %v, after a stop with %v", round, err, early)
		}
		if early != nil { // the launch came after it
			if _, err := as(t, tester).Stop(minute(t), stop); err != nil {
				t.Errorf("round %d: stop: %v", round, err)
			}
		}
		if err := becomesClean(); err != nil {
			unit := idOf(tester, p).Unit()
			t.Fatalf("round %d: left behind: %v\n%s", round, err, run(t, "journalctl", "-q", "UNIT="+unit, "+", "_SYSTEMD_UNIT="+unit))
		}
	}
}

// TestHardeningStopIsToldByTheShim stops what a shim starts: it ends with a message and a
// code that is not 0.
func TestHardeningStopIsToldByTheShim(t *testing.T) {
	begin(t)
	n := bareNetwork(t)
	configuration, pidFile := n.metadataProxy(t)
	text, err := os.ReadFile(configuration)
	if err != nil {
		t.Fatal(err)
	}
	write(t, configuration, strings.ReplaceAll(string(text), pidFile, `"`+pidFile+`${SIDECAR_UID}"`)) // it is never ready
	s := shimsOf(t, neutron)
	done := make(chan result, 1)
	cmd := s.command(t, n.namespace, "", "haproxy", "-f", configuration)
	go func() { done <- wait(t, cmd) }()
	id := interfaces.NewID(neutron, "haproxy", configuration)
	stopAtEnd(t, neutron, id.String())
	awaitPayload(t, id, configuration)
	if r := sidecarctl(t, 0, "stop", id.String()); r.code != toolDone {
		t.Error(r)
	}
	if r := <-done; r.code != 1 || !strings.Contains(r.err, "haproxy: sidecar: sidecar "+id.String()+" was stopped before it was ready") {
		t.Errorf("the shim: %v", r)
	}
}

// TestHardeningKeepAndAdoptDoNotWaitForARestart launches a sidecar again whose restarts
// fail, one after the other without an end. The launch replaces it, and is answered with
// its own failure.
func TestHardeningKeepAndAdoptDoNotWaitForARestart(t *testing.T) {
	begin(t)
	namespace(t, "t-relapse")
	for _, mode := range []interfaces.LaunchMode{interfaces.ModeKeep, interfaces.ModeAdopt} {
		p := shaped(t, "relapsing", "t-relapse")
		openGate(t, p)
		first := start(t, tester, p)
		shutGate(t, p)
		run(t, "systemctl", "kill", "--signal=KILL", first.Runtime.Unit)
		eventually(t, 10*time.Second, "its first restart has failed", func() bool {
			return strings.HasPrefix(show(t, first.Runtime.Unit, "SubState"), "auto-restart") && show(t, first.Runtime.Unit, "NRestarts") != "0"
		})
		p.Mode = &mode
		checkFailure(t, tester, p, 7, "relapsed") // within a minute
	}
}
