package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

const (
	tracePath    = "/run/bench/trace"
	launcherPath = "/usr/libexec/sidecar/sidecar-launch"
)

// parts of a launch, in their order; each ends where the next begins.
var parts = []string{
	"request",  // the call, the daemon, systemd's job: until systemd has forked for the unit
	"executor", // systemd: until it executes sidecar-launch
	"launcher", // preparation: until the engine's program is executed
	"engine",   // until the payload's program is executed
	"payload",  // until the pid file has the host's number
	"ready",    // the engine's client exits, pins are removed: until systemd has read READY=1
	"answer",   // systemd's job ends, the daemon reads the unit: until the caller has the answer
}

// benchTrace prints where the time of a launch goes, the median of each part.
func (b *bench) benchTrace(ctx context.Context) error {
	t, err := newTracer()
	if err != nil {
		return fmt.Errorf("trace: %w", err)
	}
	n, err := newNetwork(ctx, "trace")
	if err != nil {
		return err
	}
	profiles, others := []string{profile}, filling{bench: b, podman: b.among}
	if b.runtime {
		profiles = append(profiles, runtimeProfile)
		others.podman = 0
	}
	if err := others.upTo(ctx, b.among); err != nil {
		return err
	}
	for _, profile := range profiles {
		if err := b.traceProfile(ctx, t, n, profile); err != nil {
			return fmt.Errorf("trace %s: %w", profile, err)
		}
	}
	return nil
}

func (b *bench) traceProfile(ctx context.Context, t *tracer, n network, profile string) error {
	times := make([][]time.Duration, len(parts))
	var last []executed
	for round := range b.rounds + warmUp {
		took, all, err := b.traceOnce(ctx, t, n, profile)
		if err != nil {
			return err
		}
		for i := range parts {
			if round >= warmUp {
				times[i] = append(times[i], took[i])
			}
		}
		last = all
	}
	for i, part := range parts {
		fmt.Printf("trace %s %s %.1f ms\n", profile, part, milliseconds(median(times[i])))
	}
	for _, e := range last {
		fmt.Printf("trace %s last round: %.1f ms %s\n", profile, milliseconds(e.at-last[0].at), e.file)
	}
	return nil
}

// traceOnce launches and stops a sidecar. It returns the parts of the launch, and the
// programs that were executed meanwhile.
func (b *bench) traceOnce(ctx context.Context, t *tracer, n network, profile string) ([]time.Duration, []executed, error) {
	if err := t.clear(); err != nil {
		return nil, nil, err
	}
	begin, toMonotonic, err := monotonic()
	if err != nil {
		return nil, nil, err
	}
	s, err := b.agent.Launch(ctx, n.launch(profile))
	if err != nil {
		return nil, nil, err
	}
	end, _, err := monotonic()
	if err != nil {
		return nil, nil, err
	}
	all, err := t.read()
	if err != nil {
		return nil, nil, err
	}
	marks, err := marksOf(all, s, n)
	if err != nil {
		return nil, nil, err
	}
	for i := range marks {
		if marks[i].realtime {
			marks[i].at += toMonotonic
		}
	}
	took, at := []time.Duration{}, begin
	for _, m := range append(marks, mark{at: end}) {
		took, at = append(took, m.at-at), m.at
	}
	_, err = b.agent.Stop(ctx, interfaces.StopParameters{ID: s.ID})
	return took, all, err
}

// mark is the time at which a part of a launch ends.
type mark struct {
	at       time.Duration
	realtime bool // since the epoch; otherwise as CLOCK_MONOTONIC
}

// marksOf returns the ends of all parts but the last.
func marksOf(all []executed, s *interfaces.Sidecar, n network) ([]mark, error) {
	launcher, err := find(all, 0, func(file string) bool { return file == launcherPath })
	if err != nil {
		return nil, err
	}
	engine, err := find(all, launcher+1, func(file string) bool { return file != launcherPath })
	if err != nil {
		return nil, err
	}
	payload, err := find(all, engine, func(file string) bool { return file == "/usr/sbin/dnsmasq" })
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(n.pidFile())
	if err != nil {
		return nil, err
	}
	if s.Runtime.StartedUSec == nil || s.Runtime.ReadyUSec == nil {
		return nil, errors.New("the answer has no times")
	}
	return []mark{
		{time.Duration(*s.Runtime.StartedUSec) * time.Microsecond, true},
		{at: all[launcher].at},
		{at: all[engine].at},
		{at: all[payload].at},
		{time.Duration(info.ModTime().UnixNano()), true},
		{time.Duration(*s.Runtime.ReadyUSec) * time.Microsecond, true},
	}, nil
}

// find returns the index of the first program, from an index on, that matches.
func find(all []executed, from int, matches func(file string) bool) (int, error) {
	for i := from; i < len(all); i++ {
		if matches(all[i].file) {
			return i, nil
		}
	}
	return 0, fmt.Errorf("a program is missing in the kernel's trace: %v", all)
}

// monotonic returns CLOCK_MONOTONIC, and what must be added to a time since the epoch for it.
func monotonic() (now, toMonotonic time.Duration, err error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0, 0, err
	}
	now = time.Duration(ts.Nano())
	return now, now - time.Duration(time.Now().UnixNano()), nil
}

// tracer notes which programs a launch executes: events of the kernel's scheduler, in an
// instance of its own in tracefs (the kernel's Documentation/trace/ftrace.rst). The kernel
// notes them for the whole machine.
type tracer struct{ dir string }

// executed is the execution of a program, at a time of CLOCK_MONOTONIC.
type executed struct {
	at   time.Duration
	file string
}

func newTracer() (*tracer, error) {
	if err := os.MkdirAll(tracePath, 0o700); err != nil {
		return nil, err
	}
	if err := unix.Mount("tracefs", tracePath, "tracefs", 0, ""); err != nil {
		return nil, fmt.Errorf("mounting tracefs: %w", err)
	}
	t := &tracer{filepath.Join(tracePath, "instances", "sidecar")}
	if err := os.Mkdir(t.dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return t, errors.Join(
		t.set("trace_clock", "mono"),
		t.set("events/sched/sched_process_fork/enable", "1"),
		t.set("events/sched/sched_process_exec/enable", "1"),
	)
}

func (t *tracer) set(file, value string) error {
	return os.WriteFile(filepath.Join(t.dir, file), []byte(value), 0)
}

// clear forgets everything.
func (t *tracer) clear() error { return t.set("trace", "") }

// read returns what sidecar-launch and its descendants executed since clear, in the order of
// time.
func (t *tracer) read() ([]executed, error) {
	text, err := os.ReadFile(filepath.Join(t.dir, "trace"))
	if err != nil {
		return nil, err
	}
	return parseTrace(string(text))
}

// An event is one line:
//
//	runc-7 [001] ..... 1234.567890: sched_process_fork: comm=runc pid=7 child_comm=runc child_pid=8
//	runc-8 [001] ..... 1234.567899: sched_process_exec: filename=/usr/sbin/dnsmasq pid=8 old_pid=8
var event = regexp.MustCompile(`([0-9]+)\.([0-9]{6}): sched_process_(?:fork: .* pid=([0-9]+) .* child_pid=([0-9]+)|exec: filename=(\S+) pid=([0-9]+) old_pid=[0-9]+)\n`)

func parseTrace(text string) ([]executed, error) {
	var all []executed
	launch := map[string]bool{} // process and thread numbers
	for _, m := range event.FindAllStringSubmatch(text, -1) {
		parent, child, file, pid := m[3], m[4], m[5], m[6]
		switch {
		case launch[parent]:
			launch[child] = true
		case file == launcherPath:
			launch[pid] = true
		}
		if launch[pid] {
			at, err := time.ParseDuration(m[1] + "s" + m[2] + "us")
			if err != nil {
				return nil, err
			}
			all = append(all, executed{at, file})
		}
	}
	return all, nil
}
