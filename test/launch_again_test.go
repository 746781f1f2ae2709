//go:build testhost

package test

import (
	"errors"
	"os"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
)

func TestLaunchModes(t *testing.T) {
	begin(t)
	namespace(t, "t-modes")
	p := probe(t, "t-modes")
	first := start(t, tester, p)
	changed := p
	changed.Arguments = append(p.Arguments[:1:1], "--text=changed")

	for _, mode := range []interfaces.LaunchMode{interfaces.ModeFail, interfaces.ModeKeep} {
		changed.Mode = &mode
		var exists *interfaces.SidecarExistsError
		if !errors.As(refused(t, tester, changed, interfaces.ErrSidecarExists), &exists) || exists.ID != first.ID {
			t.Errorf("%s: it names %v, want %s", mode, exists, first.ID)
		}
	}
	p.Mode = new(interfaces.ModeKeep)
	if kept := start(t, tester, p); *kept.Runtime.ProcessID != *first.Runtime.ProcessID {
		t.Errorf("keep has started process %d, %d was there", *kept.Runtime.ProcessID, *first.Runtime.ProcessID)
	}
	for _, mode := range []*interfaces.LaunchMode{new(interfaces.ModeReplace), nil} {
		before := get(t, tester, first.ID)
		changed.Mode = mode
		second := start(t, tester, changed)
		if second.ID != first.ID || *second.Runtime.ProcessID == *before.Runtime.ProcessID {
			t.Errorf("%s, process %d, has not replaced %s, process %d", second.ID, *second.Runtime.ProcessID, before.ID, *before.Runtime.ProcessID)
		}
		if alive(int(*before.Runtime.ProcessID)) {
			t.Errorf("process %d runs still", *before.Runtime.ProcessID)
		}
	}
	if all, err := sidecarUnits(); err != nil || len(all) != 1 {
		t.Errorf("units %v, %v; want one", all, err)
	}
}

func TestLaunchAdopts(t *testing.T) {
	begin(t)
	namespace(t, "t-adopt")
	p := probe(t, "t-adopt")
	first := adopt(t, p, false)
	// The agent's container is replaced: it removes the pid file and starts what it
	// needs, once more.
	if err := os.Remove(pidFileOf(p.Arguments)); err != nil {
		t.Fatal(err)
	}
	if again := adopt(t, p, true); *again.Runtime.ProcessID != *first.Runtime.ProcessID {
		t.Errorf("process %d was adopted, it was %d", *again.Runtime.ProcessID, *first.Runtime.ProcessID)
	}
	run(t, "ip", "netns", "delete", "t-adopt")
	run(t, "ip", "netns", "add", "t-adopt")
	second := adopt(t, p, false)
	if got, want := namespaceOf(t, int(*second.Runtime.ProcessID), "net"), netnsOf(t, "t-adopt"); got != want {
		t.Errorf("it runs in %s, want the new namespace %s", got, want)
	}
	p.Arguments = append(p.Arguments, "--text=changed")
	checkRunning(t, adopt(t, p, false), p)
	run(t, "systemctl", "kill", "--signal=KILL", second.Runtime.Unit)
	checkRunning(t, adopt(t, p, false), p)
}

// adopt launches for the agent that has stand-ins, and says whether it must adopt.
func adopt(t *testing.T, p interfaces.LaunchParameters, adopted bool) *interfaces.Sidecar {
	t.Helper()
	reply, err := as(t, pocket).LaunchReply(minute(t), p)
	if err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, pocket, reply.Sidecar.ID)
	want := &interfaces.StandIn{Adopted: adopted, PIDFiles: []string{pidFileOf(p.Arguments)}}
	if diff := cmp.Diff(want, reply.StandIn); diff != "" {
		t.Errorf("stand-in (-want +got):\n%s", diff)
	}
	return &reply.Sidecar
}

func TestLaunchModeFailAfterAFailure(t *testing.T) {
	begin(t)
	namespace(t, "t-fail")
	p := probe(t, "t-fail")
	bad := p
	bad.Arguments = append(p.Arguments[:1:1], "--exit=1")
	checkFailure(t, tester, bad, 1, "told to exit")
	p.Mode = new(interfaces.ModeFail)
	start(t, tester, p)
}

func TestLaunchWithAPIDFileOfALivingStranger(t *testing.T) {
	begin(t)
	namespace(t, "t-stale")
	p := probe(t, "t-stale")
	stranger := os.Getpid()
	write(t, pidFileOf(p.Arguments), strconv.Itoa(stranger)+"\n")
	if s := start(t, tester, p); int(*s.Runtime.ProcessID) == stranger {
		t.Error("the stranger passes for the sidecar")
	}
}

func TestLaunchOverALeftoverContainer(t *testing.T) {
	begin(t)
	namespace(t, "t-leftover")
	p := probe(t, "t-leftover")
	id := interfaces.NewID(tester, "probe", pidFileOf(p.Arguments))
	leaveContainer(t, id)
	if s := start(t, tester, p); s.ID != id.String() {
		t.Errorf("launched as %s, want %s", s.ID, id)
	}
}

func TestLaunchOverALeftoverUnit(t *testing.T) {
	begin(t)
	namespace(t, "t-unit")
	for name, argv := range map[string][]string{
		"failed":  {"/bin/false"},
		"running": {"/bin/sleep", "1000"},
	} {
		t.Run(name, func(t *testing.T) {
			p := probe(t, "t-unit")
			unit := interfaces.NewID(tester, "probe", pidFileOf(p.Arguments)).Unit()
			run(t, append([]string{"systemd-run", "-q", "--unit=" + unit}, argv...)...)
			if s := start(t, tester, p); s.Runtime.Unit != unit {
				t.Errorf("launched as %s, want %s", s.Runtime.Unit, unit)
			}
		})
	}
}

func TestLaunchLimitOfAnAgent(t *testing.T) {
	begin(t)
	namespace(t, "t-limit")
	first := start(t, limited, probe(t, "t-limit"))
	failing := probe(t, "t-limit", "--exit=1")
	checkFailure(t, limited, failing, 1, "told to exit")
	// The failed one counts, and gives way.
	start(t, limited, probe(t, "t-limit"))
	var many *interfaces.TooManySidecarsError
	if !errors.As(refused(t, limited, probe(t, "t-limit"), interfaces.ErrTooManySidecars), &many) || many.Limit != 2 {
		t.Errorf("it says %v, want a limit of 2", many)
	}
	// What is there already may be replaced, and what is gone makes room.
	p := interfaces.LaunchParameters{Profile: "probe", NetworkNamespace: first.Context.NetworkNamespace, Arguments: first.Context.Arguments}
	start(t, limited, p)
	if _, err := as(t, limited).Stop(minute(t), interfaces.StopParameters{ID: first.ID}); err != nil {
		t.Fatal(err)
	}
	start(t, limited, probe(t, "t-limit"))
}
