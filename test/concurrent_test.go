//go:build testhost

package test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// networks makes so many networks without a machine.
func networks(t *testing.T, n int) []*network {
	t.Helper()
	all := make([]*network, n)
	for i := range all {
		all[i] = bareNetwork(t)
	}
	return all
}

// quiet are the parameters of a DHCP server that needs no inotify instance for
// resolv.conf: a user has but 128 of them, and hundreds of servers are started.
func (n *network) quiet() interfaces.LaunchParameters {
	p := n.parameters()
	p.Arguments[1] = "--no-resolv"
	return p
}

// answer is what became of one launch.
type answer struct {
	network *network
	sidecar *interfaces.Sidecar
	err     error
}

// burst launches each network's server over so many connections at once, all
// calls of a connection in one write, and returns the answers as they come.
func burst(t *testing.T, all []*network, connections int) <-chan answer {
	t.Helper()
	answers := make(chan answer, len(all))
	each := len(all) / connections
	for i := range connections {
		mine := all[i*each : (i+1)*each]
		w := dial(t, socketOf(neutron), 15*time.Minute)
		var calls []request
		for _, n := range mine {
			calls = append(calls, launchOf(n.quiet()))
		}
		go func() {
			err := w.send(calls...)
			for _, n := range mine {
				var s *interfaces.Sidecar
				if err == nil {
					s, err = w.launched()
				}
				answers <- answer{n, s, err}
				if errors.As(err, new(interfaces.Detail)) {
					err = nil // the connection goes on after an error reply
				}
			}
		}()
	}
	return answers
}

// collect reads all answers; every launch must have succeeded.
func collect(t *testing.T, answers <-chan answer, n int) []answer {
	t.Helper()
	var got []answer
	for range n {
		a := <-answers
		if a.err != nil {
			t.Errorf("%s: %v", a.network.id, a.err)
			continue
		}
		got = append(got, a)
	}
	return got
}

// checkOnce holds that every answer's sidecar runs, each once, and that nothing
// else does.
func checkOnce(t *testing.T, answers []answer) {
	t.Helper()
	ids, pids := map[string]bool{}, map[int64]bool{}
	shown := commandLines()
	for _, a := range answers {
		if err := running(a.sidecar, a.network.quiet().Arguments); err != nil {
			t.Error(err)
			continue
		}
		ids[a.sidecar.ID], pids[*a.sidecar.Runtime.ProcessID] = true, true
		if got := shown[strings.Join(a.network.quiet().Arguments, " ")]; got != 1 {
			t.Errorf("%d processes show the command line of %s", got, a.sidecar.ID)
		}
	}
	if len(ids) != len(answers) || len(pids) != len(answers) {
		t.Errorf("%d answers, but %d sidecars and %d processes", len(answers), len(ids), len(pids))
	}
	units, err := sidecarUnits()
	if err != nil || len(units) != len(answers) {
		t.Errorf("%d answers, but %d units, %v", len(answers), len(units), err)
	}
	if all, err := containers(); err != nil || len(all) != len(answers) {
		t.Errorf("%d answers, but %d containers, %v", len(answers), len(all), err)
	}
	if listed, err := as(t, neutron).List(minute(t), interfaces.ListParameters{}); err != nil || len(listed) != len(answers) {
		t.Errorf("%d answers, but %d are listed, %v", len(answers), len(listed), err)
	}
}

// commandLines counts the processes that show each command line, without the
// program's own name and fixed arguments.
func commandLines() map[string]int {
	shown := map[string]int{}
	for _, pid := range processesWith("--no-hosts") {
		if argv, err := cmdline(pid); err == nil {
			_, own, _ := strings.Cut(strings.Join(argv, " "), "--no-hosts")
			shown["--no-hosts"+own]++
		}
	}
	return shown
}

func TestConcurrentLaunches(t *testing.T) {
	begin(t)
	all := networks(t, burstSize())
	stopAllAtEnd(t, neutron)
	began := time.Now()
	answers := collect(t, burst(t, all, 20), len(all))
	t.Logf("%d launches over 20 connections took %v", len(answers), time.Since(began).Round(time.Millisecond))
	if len(answers) != len(all) {
		t.Errorf("%d of %d launches were lost", len(all)-len(answers), len(all))
	}
	checkOnce(t, answers)
}

func TestConcurrentLaunchesOfTheSameInstance(t *testing.T) {
	begin(t)
	const n = 50
	namespace(t, "t-same")
	p := probe(t, "t-same")
	stopAllAtEnd(t, tester)
	wires := make([]*wire, n)
	for i := range wires {
		wires[i] = dial(t, socketOf(tester), 15*time.Minute)
		if i == n-1 {
			// All others have been read by now, and so were accepted before the last.
			// No one of them can be over: they replace each other one by one.
			eventually(t, 30*time.Second, "the service has read them", func() bool {
				for _, w := range wires[:i] {
					if w.unread(t) > 0 {
						return false
					}
				}
				return true
			})
			time.Sleep(500 * time.Millisecond)
		}
		if err := wires[i].send(launchOf(numbered(p, i))); err != nil {
			t.Fatal(err)
		}
	}
	var newest *interfaces.Sidecar
	for i, w := range wires {
		s, err := w.launched()
		if err != nil {
			t.Errorf("launch %d: %v", i, err)
			continue
		}
		if newest == nil || *s.Runtime.StartedUSec > *newest.Runtime.StartedUSec {
			newest = s
		}
	}
	checkTheLastOneRuns(t, newest, numbered(p, n-1))
}

// numbered changes an argument, but not the instance.
func numbered(p interfaces.LaunchParameters, i int) interfaces.LaunchParameters {
	p.Arguments = append(p.Arguments[:1:1], fmt.Sprintf("--text=%d", i))
	return p
}

func checkTheLastOneRuns(t *testing.T, newest *interfaces.Sidecar, last interfaces.LaunchParameters) {
	t.Helper()
	if newest == nil {
		t.Fatal("no launch has succeeded")
	}
	s := get(t, tester, newest.ID)
	checkRunning(t, s, last)
	if *s.Runtime.InvocationID != *newest.Runtime.InvocationID {
		t.Errorf("invocation %s runs, the one that was started last is %s", *s.Runtime.InvocationID, *newest.Runtime.InvocationID)
	}
	if got := processesWith(pidFileOf(last.Arguments)); len(got) != 1 {
		t.Errorf("processes %v show the instance, want one", got)
	}
	if units, err := sidecarUnits(); err != nil || len(units) != 1 {
		t.Errorf("units %v, %v; want one", units, err)
	}
}

func TestConcurrentAgentsTakeTurns(t *testing.T) {
	begin(t)
	namespace(t, "t-turns")
	all := networks(t, 24)
	stopAllAtEnd(t, neutron)
	answers := burst(t, all, 24)
	first := <-answers // the queue is full
	if first.err != nil {
		t.Fatal(first.err)
	}
	other := start(t, tester, probe(t, "t-turns"))
	later := 0
	for _, a := range collect(t, answers, len(all)-1) {
		if *a.sidecar.Runtime.StartedUSec > *other.Runtime.StartedUSec {
			later++
		}
	}
	if later < len(all)/3 {
		t.Errorf("the other agent had to wait until only %d of %d launches were left", later, len(all))
	}
}
