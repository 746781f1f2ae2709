//go:build testhost

package test

import (
	"errors"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
)

func TestRestartInTheMiddleOf50Launches(t *testing.T) {
	begin(t)
	all := networks(t, 50)
	stopAllAtEnd(t, neutron)
	answers := burst(t, all, 50)
	answered := map[string]*interfaces.Sidecar{}
	for range 10 {
		a := <-answers
		if a.err != nil {
			t.Fatal(a.err)
		}
		answered[a.network.id] = a.sidecar
	}
	killDaemon(t)
	for range len(all) - 10 {
		if a := <-answers; a.err == nil {
			answered[a.network.id] = a.sidecar
		}
	}
	awaitDaemon(t)
	ready := settled(t)
	t.Logf("%d launches were answered before the kill, %d sidecars are there", len(answered), len(ready))
	if len(answered) == len(all) {
		t.Error("all launches were answered: nothing was in the middle")
	}
	for _, n := range all {
		checkAllOrNothing(t, n, answered[n.id], ready)
	}
	if all, err := containers(); err != nil || len(all) != len(ready) {
		t.Errorf("%d containers for %d sidecars, %v", len(all), len(ready), err)
	}
	if left, err := pins(); err != nil || len(left) > 0 {
		t.Errorf("pins %v, %v", left, err)
	}
}

// settled waits until nothing is being started any more and returns all sidecars.
func settled(t *testing.T) map[string]interfaces.Sidecar {
	t.Helper()
	var byID map[string]interfaces.Sidecar
	eventually(t, time.Minute, "nothing is being started any more", func() bool {
		all, err := as(t, neutron).List(minute(t), interfaces.ListParameters{})
		byID = map[string]interfaces.Sidecar{}
		busy := err != nil
		for _, s := range all {
			byID[s.ID] = s
			busy = busy || s.Runtime.State == interfaces.StateStarting || s.Runtime.State == interfaces.StateStopping
		}
		return !busy
	})
	return byID
}

// checkAllOrNothing holds a network's sidecar to be fully there, as it was
// answered if it was, or not at all.
func checkAllOrNothing(t *testing.T, n *network, answered *interfaces.Sidecar, ready map[string]interfaces.Sidecar) {
	t.Helper()
	id := interfaces.NewID(neutron, "dnsmasq", n.file("pid")).String()
	s, there := ready[id]
	switch {
	case !there && answered != nil:
		t.Errorf("%s was answered and is gone", id)
	case !there:
		if got := processesWith(n.file("pid")); len(got) > 0 {
			t.Errorf("%s is not listed, but processes %v run", id, got)
		}
	case answered != nil && *answered.Runtime.InvocationID != *s.Runtime.InvocationID:
		t.Errorf("%s was answered, and is another one now", id)
	default:
		if err := running(&s, n.quiet().Arguments); err != nil {
			t.Error(err)
		}
	}
}

func TestRestartOfTheDaemonIsNotNoticed(t *testing.T) {
	begin(t)
	n := newNetwork(t)
	n.assign(t, "192.0.2.30")
	s := start(t, neutron, n.parameters())
	failed := checkFailure(t, neutron, bareNetwork(t).parameters("--dhcp-range=set:s,fd00::,static,255.255.255.0,1h"), 1, "dhcp-range")
	before, err := as(t, neutron).List(minute(t), interfaces.ListParameters{})
	if err != nil || len(before) != 2 {
		t.Fatalf("listed %v, %v", before, err)
	}
	killDaemon(t)
	if got := n.lease(t); got != "192.0.2.30" {
		t.Errorf("without the daemon the machine gets %s", got)
	}
	awaitDaemon(t)
	after, err := as(t, neutron).List(minute(t), interfaces.ListParameters{})
	if diff := cmp.Diff(before, after); err != nil || diff != "" {
		t.Errorf("%v (-before +after):\n%s", err, diff)
	}
	// What the daemon does not remember it can still keep, replace and stop.
	keep := n.parameters()
	keep.Mode = new(interfaces.ModeKeep)
	if kept := start(t, neutron, keep); *kept.Runtime.ProcessID != *s.Runtime.ProcessID {
		t.Error("keep has started another one")
	}
	if _, err := as(t, neutron).Stop(minute(t), interfaces.StopParameters{ID: failed}); err != nil {
		t.Errorf("stop of the failed one: %v", err)
	}
}

func TestRestartRefusesNoConnection(t *testing.T) {
	begin(t)
	stop := make(chan struct{})
	done := make(chan error)
	connects := 0
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if err := tryConnect(); err != nil {
				done <- err
				return
			}
			connects++
		}
	}()
	for range 20 {
		killDaemon(t)
		eventually(t, 5*time.Second, "the daemon is dead", func() bool { return !alive(expectedDaemon) })
		// It is down now, and this waits until it is back.
		if _, err := as(t, tester).Info(minute(t)); err != nil {
			t.Errorf("a call while the daemon was down: %v", err)
		}
		awaitDaemon(t)
	}
	close(stop)
	if err := <-done; err != nil {
		t.Errorf("connect: %v", err)
	}
	t.Logf("%d connections during 20 restarts, none refused", connects)
	if connects < 100 {
		t.Errorf("only %d connections were tried", connects)
	}
}

// tryConnect connects to an agent's socket and hangs up.
func tryConnect() error {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	err = syscall.Connect(fd, &syscall.SockaddrUnix{Name: socketOf(tester)})
	time.Sleep(time.Millisecond)
	if errors.Is(err, syscall.EAGAIN) { // the backlog is full: it waits, it is not refused
		return nil
	}
	return err
}

func TestRestartOfTheBusWhileLaunchesRun(t *testing.T) {
	begin(t)
	duringLaunches(t, "systemctl", "restart", "dbus.service")
}

func TestRestartOfSystemdWhileLaunchesRun(t *testing.T) {
	begin(t)
	duringLaunches(t, "systemctl", "daemon-reexec")
}

// duringLaunches runs a command in the middle of 24 launches. All of them must
// succeed, each once.
func duringLaunches(t *testing.T, argv ...string) {
	t.Helper()
	all := networks(t, 24)
	stopAllAtEnd(t, neutron)
	answers := burst(t, all, 24)
	first := []answer{<-answers, <-answers, <-answers}
	run(t, argv...)
	rest := collect(t, answers, len(all)-len(first))
	for _, a := range first {
		if a.err != nil {
			t.Fatal(a.err)
		}
	}
	settled(t)
	checkOnce(t, append(first, rest...))
}

func TestRestartOfASecondDaemonIsRefused(t *testing.T) {
	begin(t)
	out, err := exec.CommandContext(minute(t), "/usr/libexec/sidecar/sidecard").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another sidecard runs") {
		t.Errorf("a second daemon: %v, %s", err, out)
	}
	if _, err := as(t, tester).Info(minute(t)); err != nil {
		t.Errorf("the first one: %v", err)
	}
}
