package systemd

import (
	"sync"
	"time"
)

const environment = `RECORD={"arguments":["--a=\"b\" c","$HOME","100%","back\\slash","line\nend","ü"]}`

// script is what a kind does on a real systemd. There is no semicolon in it, which
// systemd 252 would not keep over a reload.
func script(kind string) []Property {
	const (
		ready = "systemd-notify --ready --status=hello\n"
		loop  = "while sleep 0.05\ndo :\ndone"
	)
	shell := map[string]string{
		kindReady: ready + "exec sleep 600",
		kindExit7: "exit 7",
		kindNever: "exec sleep 600",
		kindSlow:  "sleep 0.5\n" + ready + "exec sleep 600",
		kindExit3: "trap 'exit 3' TERM\n" + ready + loop,
		kindDeaf:  "trap '' TERM\n" + ready + loop,
		kindDies:  ready + "sleep 0.5\nexit 5",
	}[kind]
	timeout := 20 * time.Second
	if kind == kindNever {
		timeout = 300 * time.Millisecond
	}
	return []Property{
		String("Description", kind),
		String("Type", "notify"),
		String("NotifyAccess", "all"),
		ExecStart([]string{"/bin/sh", "-c", shell}),
		Strings("Environment", environment),
		Duration("TimeoutStartUSec", timeout),
		Duration("TimeoutStopUSec", 20*time.Second),
		Duration("StartLimitIntervalUSec", 0),
	}
}

// scripted is a fake that plays the kinds.
func scripted() *Fake {
	f := &Fake{}
	var kinds sync.Map
	f.OnStart = func(name string, properties []Property) Outcome {
		kind, _ := properties[0].Value.Value().(string)
		kinds.Store(name, kind)
		o := ReadyAs("hello")
		switch kind {
		case kindExit7:
			return FailedWith(7)
		case kindNever:
			return TimedOut()
		case kindSlow:
			o.Delay = 100 * time.Millisecond
		case kindDies:
			time.AfterFunc(50*time.Millisecond, func() { f.Exit(name, 5) })
		}
		return o
	}
	f.OnStop = func(u Unit) Outcome {
		switch kind, _ := kinds.Load(u.Name); kind {
		case kindExit3:
			return FailedWith(3)
		case kindDeaf:
			return Outcome{Delay: time.Second}
		}
		return Outcome{}
	}
	return f
}
