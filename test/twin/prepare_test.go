package twin

import (
	"context"
	"errors"
	"sync"
	"testing"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service"
	"tripleo.io/sidecar/service/launcher"
	"tripleo.io/sidecar/service/systemd"
)

// running has a sidecar of each of two agents.
func running(t *testing.T, h *host) {
	h.launched(t, dnsmasq())
	h.launched(t, pocketed("1"))
}

// failed has one that has exited.
func failed(t *testing.T, h *host) {
	running(t, h)
	if !h.units.Exit(here.Unit(), 3) {
		t.Fatal("there is no unit")
	}
}

// killed has one that a signal has ended.
func killed(t *testing.T, h *host) {
	running(t, h)
	if !h.units.Exit(here.Unit(), 128+9) {
		t.Fatal("there is no unit")
	}
}

// restarted has one that systemd has started again three times, and of which it does
// not know the process.
func restarted(t *testing.T, h *host) {
	running(t, h)
	h.units.Update(here.Unit(), func(u *systemd.Unit) { u.NRestarts, u.StatusText = 3, "" })
}

// waiting has one that systemd is about to start again.
func waiting(t *testing.T, h *host) {
	running(t, h)
	h.units.Update(here.Unit(), func(u *systemd.Unit) {
		u.ActiveState, u.SubState, u.Result, u.MainPID = "activating", "auto-restart", "exit-code", 0
		u.ExecMainCode, u.ExecMainStatus, u.NRestarts, u.RestartUSec = 1, 7, 2, 4711
	})
}

// outOfMemory has one that the kernel has killed for want of memory.
func outOfMemory(t *testing.T, h *host) {
	running(t, h)
	h.units.Update(here.Unit(), func(u *systemd.Unit) {
		u.ActiveState, u.SubState, u.Result = "failed", "failed", "oom-kill"
		u.ExecMainCode, u.ExecMainStatus, u.StatusText = 1, 137, "Out of memory: limit of the agent"
	})
}

// unhealthy has one whose probes fail.
func unhealthy(t *testing.T, h *host) {
	sick := pocketed("1")
	sick.Profile = "probed"
	h.launched(t, sick)
	id := interfaces.NewID("pocket", "probed", "/var/lib/pocket/1/pid")
	h.units.Update(id.Unit(), func(u *systemd.Unit) {
		u.StatusText += launcher.FormatHealth(launcher.Health{State: interfaces.HealthUnhealthy, SinceUSec: 1e15, Reason: "no answer"})
	})
}

// unreadable has a unit that does not say what was asked for: somebody else has
// started it.
func unreadable(t *testing.T, h *host) {
	running(t, h)
	h.units.Update(here.Unit(), func(u *systemd.Unit) {
		u.Digest, u.InvocationID = nil, "0123456789abcdef0123456789abcdef"
	})
}

// ending has stops end in this way.
func ending(o systemd.Outcome) func(*testing.T, *host) {
	return func(_ *testing.T, h *host) {
		h.units.OnStop = func(systemd.Unit) systemd.Outcome { return o }
	}
}

// broken has a systemd that does not do this; with late, after it was waited for.
func broken(operation string, late ...error) func(*testing.T, *host) {
	fail := func(o, _ string) error {
		if o == operation {
			return errors.Join(append([]error{errors.New("systemd: a scripted failure")}, late...)...)
		}
		return nil
	}
	return func(_ *testing.T, h *host) { h.broken.Store(&fail) }
}

func starting(o systemd.Outcome) func(*testing.T, *host) {
	return func(_ *testing.T, h *host) {
		h.units.OnStart = func(string, []systemd.Property) systemd.Outcome { return o }
	}
}

// stuck has a launch of the same sidecar that goes on until the test ends.
func stuck(t *testing.T, h *host) {
	end, ended := make(chan struct{}), make(chan struct{})
	h.units.OnStart = func(string, []systemd.Property) systemd.Outcome {
		<-end
		return systemd.Outcome{}
	}
	go func() {
		defer close(ended)
		_, _ = h.core.Launch(context.Background(), service.Caller{PIDFD: -1}, dnsmasq())
	}()
	t.Cleanup(func() {
		close(end)
		<-ended
	})
	eventually(t, "the other launch has begun", func() bool { return h.units.Starts(here.Unit()) == 1 })
}

// interrupted has somebody stop the sidecar as soon as its start has begun.
func interrupted(t *testing.T, h *host) {
	end := make(chan struct{})
	var stops sync.WaitGroup // none if the transport does not offer a launch
	h.units.OnStart = func(string, []systemd.Property) systemd.Outcome {
		stops.Go(func() {
			_, _ = h.core.Stop(context.Background(), service.Caller{PIDFD: -1}, interfaces.StopParameters{ID: here.String()})
		})
		<-end
		return systemd.Outcome{}
	}
	t.Cleanup(func() {
		close(end)
		stops.Wait()
	})
}

// crowded has as many questions of the operator as there may be, all without an
// answer until the test ends.
func crowded(t *testing.T, h *host) {
	ctx, cancel := context.WithCancel(context.Background())
	h.polkit.hang = true
	ended := make(chan struct{})
	const crowd = 8
	for range crowd {
		go func() {
			_, _ = h.core.List(ctx, service.Caller{UID: nobody, Sender: ":1.99"}, interfaces.ListParameters{})
			ended <- struct{}{}
		}()
	}
	t.Cleanup(func() {
		cancel()
		for range crowd {
			<-ended
		}
	})
	eventually(t, "all have asked", func() bool { return h.polkit.count() == crowd })
}
