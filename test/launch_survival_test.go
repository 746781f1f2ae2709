//go:build testhost

package test

import (
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
)

// oddArguments are what systemd, podman or a shell could take for something else
// than text.
func oddArguments() []string {
	var arguments []string
	for _, text := range []string{
		"%i", "%n %H %%", "%", "$HOME", "${PATH}", "$$", "$(id)", "`id`", `"double"`, `'single'`, `"`, `'`, `back\slash`, `\x41\n`, `\`,
		"two  blanks", " around ", "ünïcødé 網路", ";", "; rm", "#", "*", "~", "|", "&", "{text}", "-", "--", "=", "@x", "+x", "!x", "!!x", ":x",
	} {
		arguments = append(arguments, "--text="+text)
	}
	return append(arguments, "", "-t", "%i $HOME", "-t", `\`)
}

func TestLaunchOddArgumentsSurvive(t *testing.T) {
	begin(t)
	namespace(t, "t-odd")
	p := shaped(t, "phoenix", "t-odd", oddArguments()...)
	p.ProcessTag = new("tag-1.2_3")
	first := start(t, tester, p)
	// systemd reads the unit again, from its own file.
	run(t, "systemctl", "daemon-reload")
	again := get(t, tester, first.ID)
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("after daemon-reload (-before +after):\n%s", diff)
	}
	for i, end := range []func(*testing.T, *interfaces.Sidecar){crash, crashMain} {
		end(t, again)
		again = awaitRestart(t, first.ID, int64(i+1))
		checkRunning(t, again, p)
		if diff := cmp.Diff(first.Context, again.Context); diff != "" {
			t.Errorf("after a restart (-before +after):\n%s", diff)
		}
		if got := environ(t, int(*again.Runtime.ProcessID))["PROCESS_TAG"]; got != *p.ProcessTag {
			t.Errorf("PROCESS_TAG is %q", got)
		}
	}
}

// awaitRestart waits until systemd has restarted a sidecar so often.
func awaitRestart(t *testing.T, id string, restarts int64) *interfaces.Sidecar {
	t.Helper()
	var s *interfaces.Sidecar
	eventually(t, 15*time.Second, id+" is restarted", func() bool {
		s = get(t, tester, id)
		return s.Runtime.State == interfaces.StateReady && s.Runtime.Restarts >= restarts
	})
	if s.Runtime.Restarts != restarts {
		t.Errorf("%d restarts, want %d", s.Runtime.Restarts, restarts)
	}
	return s
}

func TestLaunchForeignKillIsAStop(t *testing.T) {
	begin(t)
	for name, signal := range map[string]syscall.Signal{"TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			n := bareNetwork(t)
			s := start(t, neutron, n.parameters())
			if err := syscall.Kill(int(*s.Runtime.ProcessID), signal); err != nil {
				t.Fatal(err)
			}
			gone(t, neutron, s.ID)
			time.Sleep(1500 * time.Millisecond) // longer than the delay of a restart
			if got := show(t, s.Runtime.Unit, "ActiveState"); got != "inactive" {
				t.Errorf("the unit is %s", got)
			}
			start(t, neutron, n.parameters())
		})
	}
}

func TestLaunchGoesOnWhenTheCallerHangsUp(t *testing.T) {
	begin(t)
	namespace(t, "t-hangup")
	p := shaped(t, "gated", "t-hangup")
	id := interfaces.NewID(tester, "gated", pidFileOf(p.Arguments))
	w := dial(t, socketOf(tester), time.Minute)
	if err := w.send(launchOf(p)); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "the start has begun", func() bool {
		_, err := as(t, tester).Get(minute(t), id.String())
		return err == nil
	})
	w.conn.Close()
	stopAtEnd(t, tester, id.String())
	time.Sleep(200 * time.Millisecond)
	if state := get(t, tester, id.String()).Runtime.State; state != interfaces.StateStarting {
		t.Errorf("it is %s when its caller has left", state)
	}
	openGate(t, p)
	eventually(t, 10*time.Second, "the sidecar is ready", func() bool {
		return get(t, tester, id.String()).Runtime.State == interfaces.StateReady
	})
	checkRunning(t, get(t, tester, id.String()), p)
}

func TestLaunchWhoseCallerLeftBeforeItsTurnIsForgotten(t *testing.T) {
	begin(t)
	namespace(t, "t-left")
	blocker := shaped(t, "gated", "t-left")
	blockerID := interfaces.NewID(tester, "gated", pidFileOf(blocker.Arguments)).String()
	stopAtEnd(t, tester, blockerID)
	first, second := dial(t, socketOf(tester), time.Minute), dial(t, socketOf(tester), time.Minute)
	if err := first.send(launchOf(blocker)); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "the first one starts", func() bool {
		_, err := as(t, tester).Get(minute(t), blockerID)
		return err == nil
	})
	before := get(t, tester, blockerID).Runtime.InvocationID
	if err := second.send(launchOf(blocker)); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "the second call is read", func() bool { return second.unread(t) == 0 })
	time.Sleep(200 * time.Millisecond)
	second.conn.Close()
	time.Sleep(time.Second)
	openGate(t, blocker)
	if _, err := first.launched(); err != nil {
		t.Errorf("the first one: %v", err)
	}
	time.Sleep(500 * time.Millisecond)
	if s := get(t, tester, blockerID); s.Runtime.State != interfaces.StateReady || *s.Runtime.InvocationID != *before {
		t.Errorf("it was started again for a caller that had left: %+v", s.Runtime)
	}
}
