//go:build testhost

package test

import (
	"errors"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// TestFaultPayloadCrashes: a payload that the kernel ends has failed, its unit says by which
// signal, and the next launch works.
func TestFaultPayloadCrashes(t *testing.T) {
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		namespace(t, "t-crash")
		// In a pid namespace of its own, a first process is not ended by SIGSEGV.
		withPolicy(t, "profiles.d", "mortal", "pid-namespace = \"host\"\n"+profile(image, takePIDFile+writePID+idle, "30s", "no"))
		withPolicy(t, "agents.d", "mortals", strings.Replace(agentFiles[tester], `["dnsmasq"`, `["mortal", "dnsmasq"`, 1))
		p := shaped(t, "mortal", "t-crash")
		s := start(t, "mortals", p)
		if err := syscall.Kill(int(*s.Runtime.ProcessID), syscall.SIGSEGV); err != nil {
			t.Fatal(err)
		}
		eventually(t, 10*time.Second, "it has failed", func() bool {
			return get(t, "mortals", s.ID).Runtime.State == interfaces.StateFailed
		})
		if got := get(t, "mortals", s.ID).Runtime.ExitSignal; got == nil || *got != "SIGSEGV" {
			t.Errorf("it was ended by %v", got)
		}
		wantNothingLeft(t, p)
		start(t, "mortals", p)
	})
}

// TestFaultMonitorKilled: without podman's monitor nobody sees how a payload ends, so the unit ends.
func TestFaultMonitorKilled(t *testing.T) {
	begin(t)
	namespace(t, "t-monitor")
	p := probe(t, "t-monitor")
	s := start(t, tester, p)
	monitor, err := strconv.Atoi(show(t, s.Runtime.Unit, "MainPID"))
	if err != nil || monitor == int(*s.Runtime.ProcessID) {
		t.Fatalf("the main process is %d, %v: no monitor", monitor, err)
	}
	if err := syscall.Kill(monitor, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "it has failed", func() bool {
		return get(t, tester, s.ID).Runtime.State == interfaces.StateFailed
	})
	wantNothingLeft(t, p)
	start(t, tester, p)
}

// wantNothingLeft waits until a failed launch has left nothing but its unit.
func wantNothingLeft(t *testing.T, p interfaces.LaunchParameters) {
	t.Helper()
	eventually(t, 15*time.Second, "no container, no pin and no process is left", func() bool {
		all, err := containers()
		mounted, pinsErr := pins()
		return errors.Join(err, pinsErr) == nil && len(all) == 0 && len(mounted) == 0 && len(processesWith(pidFileOf(p.Arguments))) == 0
	})
}
