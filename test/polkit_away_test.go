//go:build testhost

package test

import (
	"errors"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// wantDenied holds an answer to a refusal that blames polkit, and shows that nothing
// was started.
func wantDenied(t *testing.T, got frame, why string) {
	t.Helper()
	if got.Error != refusedByIt || !strings.Contains(reason(got), why) {
		t.Errorf("%v, want a refusal because polkit %s", got, why)
	}
	if units, err := sidecarUnits(); err != nil || len(units) != 0 {
		t.Errorf("there is %v, %v", units, err)
	}
}

// launchByAllowed is what the user who may do everything asks for.
func launchByAllowed(t *testing.T, netns string) interfaces.LaunchParameters {
	t.Helper()
	p := probe(t, netns)
	p.Agent = new(tester)
	return p
}

func TestPolkitThatIsNotThere(t *testing.T) {
	begin(t)
	namespace(t, "t-away")
	rules(t, map[string]string{"10-test.rules": byName})
	u := newUser(t, allowed)
	p := launchByAllowed(t, "t-away")
	run(t, "systemctl", "mask", "--runtime", "--now", "polkit")
	t.Cleanup(func() { run(t, "systemctl", "unmask", "--runtime", "polkit") })
	began := time.Now()
	wantDenied(t, u.call(t, "Launch", p), "polkit")
	if got := u.busCall(t, launching("Launch", p)); got.Error != busDenied {
		t.Errorf("on the bus: %v", got)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
	run(t, "systemctl", "unmask", "--runtime", "polkit")
	if polkitVersion(t) < 124 { // which starts it again
		return
	}
	run(t, "systemctl", "stop", "polkit")
	s := launchedBy(t, u, p) // as the bus does
	stopAtEnd(t, tester, s.ID)
}

// TestPolkitThatHangs stops polkitd's process: questions are refused in time,
// agents and root do not notice, and when polkit answers, late, nothing happens.
func TestPolkitThatHangs(t *testing.T) {
	begin(t)
	namespace(t, "t-hangs")
	rules(t, map[string]string{"10-test.rules": byName})
	u, stopper, onBus := newUser(t, allowed), newUser(t, allowed), newUser(t, allowed)
	p := launchByAllowed(t, "t-hangs")
	pid := polkitMainPID(t)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	began := time.Now()
	u.tell(t, told{Request: launchOf(p)})
	call := launching("Launch", p)
	onBus.tell(t, told{Bus: &call})
	stopper.tell(t, told{Request: request{Method: interfaces.Name + ".Stop", Parameters: interfaces.StopParameters{ID: "tester.probe.0123456789ab"}}})

	if _, err := at(t, hostSocket).List(minute(t), interfaces.ListParameters{Agent: new(tester)}); err != nil && !errors.Is(err, interfaces.ErrNoSuchSidecar) {
		t.Errorf("root: %v", err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("root waited for polkit: %v", took)
	}
	q := probe(t, "t-hangs")
	s := start(t, tester, q)
	if _, err := as(t, tester).Stop(minute(t), interfaces.StopParameters{ID: s.ID}); err != nil {
		t.Errorf("an agent: %v", err)
	}
	wantDenied(t, u.answer(t), "has not answered within 25s")
	if took := time.Since(began); took > 45*time.Second {
		t.Errorf("it took %v", took)
	}
	wantDenied(t, stopper.answer(t), "has not answered within 25s")
	if got := onBus.answer(t); got.Error != busDenied {
		t.Errorf("on the bus: %v", got)
	}
	time.Sleep(time.Until(began.Add(30 * time.Second)))
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second) // for the late answer
	if units, err := sidecarUnits(); err != nil || len(units) != 0 {
		t.Errorf("the late answer started %v, %v", units, err)
	}
	if got := onBus.busCall(t, launching("Explain", p)); got.Error != fine {
		t.Errorf("on the bus, when polkit answers again: %v", got)
	}
	if polkitVersion(t) < 124 {
		return
	}
	again := launchedBy(t, u, p)
	stopAtEnd(t, tester, again.ID)
}

// TestPolkitThatIsKilled kills polkitd when it has a question.
func TestPolkitThatIsKilled(t *testing.T) {
	begin(t)
	namespace(t, "t-killed")
	rules(t, map[string]string{"10-test.rules": byName})
	u := newUser(t, allowed)
	p := launchByAllowed(t, "t-killed")
	pidfds := polkitVersion(t) >= 124
	pid := polkitMainPID(t)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	u.tell(t, told{Request: launchOf(p)})
	time.Sleep(6 * time.Second) // until it has the question
	began := time.Now()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wantDenied(t, u.answer(t), "went away without an answer")
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	if !pidfds {
		return
	}
	// While systemd has not seen the death, the bus's order to start polkit finds it
	// running, and the bus waits in vain for its name.
	eventually(t, 10*time.Second, "systemd sees the death of polkit", func() bool {
		return show(t, "polkit", "MainPID") != strconv.Itoa(pid)
	})
	s := launchedBy(t, u, p)
	stopAtEnd(t, tester, s.ID)
}

// TestPolkitOutlivesTheBus restarts the bus under somebody who is not root and uses the
// host's socket: what has nothing to do with the bus only waits.
func TestPolkitOutlivesTheBus(t *testing.T) {
	needsPIDFDs(t)
	begin(t)
	namespace(t, "t-outlives")
	rules(t, map[string]string{"10-test.rules": byName})
	s := start(t, tester, probe(t, "t-outlives"))
	stop := make(chan struct{})
	calls := &tally{}
	var callers sync.WaitGroup
	for range 4 {
		u := newUser(t, allowed)
		callers.Go(func() {
			calls.until(stop, func() error {
				if got := u.call(t, "List", interfaces.ListParameters{ID: &s.ID}); got.Error != fine {
					return errors.New(got.String())
				}
				return nil
			})
		})
	}
	for range 3 {
		time.Sleep(time.Second)
		run(t, "systemctl", "restart", "dbus.service")
	}
	time.Sleep(time.Second)
	close(stop)
	callers.Wait()
	t.Log(calls)
	for _, err := range calls.failures {
		t.Error(err)
	}
	if calls.calls < 10 || calls.longest > slowness*10*time.Second {
		t.Errorf("%d calls, the longest took %v", calls.calls, calls.longest)
	}
}
