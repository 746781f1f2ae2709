package systemd

import (
	"context"
	"sync"
	"time"
)

const environment = `RECORD={"arguments":["--a=\"b\" c","$HOME","100%","back\\slash","line\nend","ü"]}`

// whole is a Config.Digest.
func whole(environment []string) any { return environment }

// patience is how long the units of the tests may take to start or to stop, none of
// which is meant to take that long.
const patience = time.Minute

// script is what a kind does on a real systemd. It has no semicolon, which systemd 252 would
// not keep over a reload.
func script(kind string) []Property {
	const (
		ready = "systemd-notify --ready --status=hello\n"
		loop  = "while sleep 0.05\ndo :\ndone"
	)
	shell := map[string]string{
		kindReady:    ready + "exec sleep 600",
		kindExit7:    "exit 7",
		kindNever:    "exec sleep 600",
		kindSlow:     "sleep 1\n" + ready + "exec sleep 600",
		kindExit3:    "trap 'exit 3' TERM\n" + ready + loop,
		kindIgnoring: "trap '' TERM\n" + ready + loop,
		kindDies:     ready + "sleep 0.5\nexit 5",
	}[kind]
	restart := "no"
	if kind == kindReturns {
		shell, restart = "exit 7", "on-failure"
	}
	timeout := patience
	if kind == kindNever {
		timeout = 300 * time.Millisecond
	}
	return []Property{
		String("Description", kind),
		String("Type", "notify"),
		String("NotifyAccess", "all"),
		ExecStart("/bin/sh", "-c", shell),
		Strings("Environment", environment),
		Duration("TimeoutStartUSec", timeout),
		Duration("TimeoutStopUSec", patience),
		Duration("StartLimitIntervalUSec", 0),
		String("Restart", restart),
		Duration("RestartUSec", time.Hour),
	}
}

// scripted is a fake that plays the kinds.
func scripted() *Fake {
	f := &Fake{Digest: whole}
	var kinds sync.Map
	f.OnStart = func(name string, properties []Property) Outcome {
		kind, _ := properties[0].Value.Value().(string)
		kinds.Store(name, kind)
		o := ReadyAs("hello")
		switch kind {
		case kindExit7:
			return FailedWith(7)
		case kindReturns:
			return Outcome{Job: "failed", Change: func(u *Unit) {
				exited(u, 7)
				u.ActiveState, u.SubState = "activating", "auto-restart"
				u.RestartUSec = u.ExitedUSec + uint64(time.Hour.Microseconds())
			}}
		case kindNever:
			return TimedOut()
		case kindSlow:
			o.Delay = 2 * time.Second
		case kindDies:
			go exitWhenReady(f, name)
		}
		return o
	}
	f.OnStop = func(u Unit) Outcome {
		switch kind, _ := kinds.Load(u.Name); kind {
		case kindExit3:
			return FailedWith(3)
		case kindIgnoring:
			return Outcome{Delay: patience}
		}
		return Outcome{}
	}
	return f
}

// exitWhenReady ends the main process of a unit soon after its start.
func exitWhenReady(f *Fake, name string) {
	for range 1000 {
		time.Sleep(10 * time.Millisecond)
		if u, err := f.Get(context.Background(), name); err == nil && u.ActiveState == "active" {
			f.Exit(name, 5)
			return
		}
	}
}
