//go:build testhost

package test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

func TestStopEndsTheProcessAndForgetsTheUnit(t *testing.T) {
	begin(t)
	n := bareNetwork(t)
	s := start(t, neutron, n.parameters())
	reply, err := as(t, neutron).Stop(minute(t), interfaces.StopParameters{ID: s.ID})
	if err != nil {
		t.Fatal(err)
	}
	if reply.ExitCode == nil || *reply.ExitCode != 0 || reply.ExitSignal != nil {
		t.Errorf("it ended with %v, %v; dnsmasq ends with 0 when it is told to", reply.ExitCode, reply.ExitSignal)
	}
	if alive(int(*s.Runtime.ProcessID)) {
		t.Error("the process runs still")
	}
	if err := becomesClean(); err != nil {
		t.Errorf("left when Stop returned: %v", err)
	}
	if _, err := as(t, neutron).Stop(minute(t), interfaces.StopParameters{ID: s.ID}); !errors.Is(err, interfaces.ErrNoSuchSidecar) {
		t.Errorf("stopped twice: %v", err)
	}
}

func TestStopKillsWhatDoesNotEnd(t *testing.T) {
	begin(t)
	namespace(t, "t-stubborn")
	s := start(t, tester, shaped(t, "stubborn", "t-stubborn"))
	began, since := time.Now(), now()
	reply, err := as(t, tester).Stop(minute(t), interfaces.StopParameters{ID: s.ID, TimeoutUSec: new(time.Second.Microseconds())})
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 900*time.Millisecond {
		t.Errorf("it took %v, want about 1 s", took)
	}
	// What comes afterwards takes its time; but the kill was ours, and not systemd's
	// after the unit's own time-out.
	for _, e := range entriesSince(t, since, "UNIT="+s.Runtime.Unit) {
		if text, _ := e["MESSAGE"].(string); strings.Contains(text, "timed out") {
			t.Errorf("systemd says: %s", text)
		}
	}
	if reply.ExitSignal == nil || *reply.ExitSignal != "SIGKILL" {
		t.Errorf("it ended with %v, %v, want SIGKILL", reply.ExitCode, reply.ExitSignal)
	}
	if alive(int(*s.Runtime.ProcessID)) {
		t.Error("the process runs still")
	}
}

func TestStopForgetsAFailedOne(t *testing.T) {
	begin(t)
	namespace(t, "t-forget")
	id := checkFailure(t, tester, probe(t, "t-forget", "--exit=9"), 9, "told to exit")
	reply, err := as(t, tester).Stop(minute(t), interfaces.StopParameters{ID: id})
	if err != nil || reply.ExitCode == nil || *reply.ExitCode != 9 {
		t.Errorf("exit code %v, %v; want 9", reply, err)
	}
	gone(t, tester, id)
}
