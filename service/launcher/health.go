package launcher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/sdnotify"
	"tripleo.io/sidecar/service/document"
)

// Health is the health of a payload, as its unit's status text has it.
type Health struct {
	State     interfaces.HealthState
	SinceUSec int64  // in whole seconds, 0 with HealthUnknown
	Reason    string // of HealthUnhealthy
}

const (
	healthInfix = "; "
	sinceInfix  = " since "
)

// FormatHealth returns what follows [FormatStatus] in the status text of a unit.
func FormatHealth(h Health) string {
	text := healthInfix + string(h.State) + sinceInfix + time.UnixMicro(h.SinceUSec).UTC().Format(time.RFC3339)
	if h.Reason != "" {
		text += ": " + h.Reason
	}
	return text
}

// ParseHealth returns the health in a status text, HealthUnknown if it has none.
func ParseHealth(text string) Health {
	_, text, _ = strings.Cut(text, healthInfix)
	word, text, _ := strings.Cut(text, sinceInfix)
	moment, reason, _ := strings.Cut(text, ": ")
	since, err := time.Parse(time.RFC3339, moment)
	state := interfaces.HealthState(word)
	if err != nil || state != interfaces.HealthHealthy && state != interfaces.HealthUnhealthy {
		return Health{State: interfaces.HealthUnknown}
	}
	return Health{state, since.UnixMicro(), reason}
}

// tally judges by the results of probes.
type tally struct {
	limit  int // of failures in a row
	failed int // in a row, so far
	health Health
}

// judge returns the health after one more probe, and whether it has changed.
func (t *tally) judge(err error, now time.Time) (Health, bool) {
	next := Health{State: interfaces.HealthHealthy, SinceUSec: now.Truncate(time.Second).UnixMicro()}
	if err == nil {
		t.failed = 0
		return next, t.health.State != next.State
	}
	t.failed++
	next.State, next.Reason = interfaces.HealthUnhealthy, oneLine(err.Error())
	return next, t.failed >= t.limit && t.health.State != next.State
}

// oneLine makes a short line of a reason, which may have text of the payload.
func oneLine(reason string) string {
	const most = 200
	line := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(reason, "?"))
	return fmt.Sprintf("%.*s", most, strings.Join(strings.Fields(line), " "))
}

// Payload is a payload that is ready.
type Payload struct {
	PID     int    // its main process in our pid namespace
	MainPID int    // the unit's main process
	Image   string // the image's ID, "" if it is not known
}

// Arguments returns the arguments of "sidecar-launch probe".
func (p Payload) Arguments() []string {
	return []string{strconv.Itoa(p.PID), strconv.Itoa(p.MainPID), p.Image}
}

// PayloadOf reads [Payload.Arguments].
func PayloadOf(arguments []string) (p Payload, err error) {
	if len(arguments) != 3 {
		return p, errors.New("PID, main PID and image's ID are needed")
	}
	if p.PID, err = strconv.Atoi(arguments[0]); err == nil {
		p.MainPID, err = strconv.Atoi(arguments[1])
	}
	p.Image = arguments[2]
	return p, err
}

// StartProber replaces the calling program, the unit's sidecar-launch, by one that probes the
// payload (see [Prober.Run]), in the payload's network namespace if the probe makes a connection.
// It returns only if that fails.
func StartProber(d *document.Document, p Payload, environment []string) error {
	table, err := ownCgroup("/proc")
	if err != nil {
		return err
	}
	payload, err := watchMain(p.PID, table)
	if err != nil {
		return err
	}
	defer payload.Close()
	program, err := os.Executable()
	if err != nil {
		return err
	}
	runtime.LockOSThread() // the new program gets the namespaces of this thread
	if d.Health.Command == nil {
		if err := unix.Setns(int(payload.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("joining the payload's network namespace: %v", err)
		}
	}
	// One processor: it mostly waits, and there is one for each sidecar.
	environment = append(environment, "GOMAXPROCS=1")
	return unix.Exec(program, append([]string{program, "probe"}, p.Arguments()...), environment)
}

// Prober probes the payload of its own unit.
type Prober struct {
	Document *document.Document
	Payload  Payload
	Socket   string      // NOTIFY_SOCKET
	Say      func(error) // writes a line to the unit's log

	// Exec returns the command with which the OCI runtime runs a program in the container: see
	// package engine.
	Exec    func(monitor []string, group string, program []string) ([]string, error)
	monitor []string // see [monitor]
	group   string   // the directory of a command's control group
}

// Run probes until the payload has ended. The unit's status text says when the payload becomes
// healthy or unhealthy, and the service manager restarts an unhealthy one if the document says so.
func (p Prober) Run(ctx context.Context) error {
	table, err := ownCgroup("/proc")
	if err != nil {
		return err
	}
	payload, err := watchMain(p.Payload.PID, table)
	if errors.Is(err, ErrMainEnded) {
		return nil
	}
	if err != nil {
		return err
	}
	defer payload.Close()
	about := p.Document.Health
	if about.Command != nil {
		p.monitor, err = monitor(table, p.Payload.MainPID)
		if err == nil {
			p.group, err = groupBelow(payload, p.Payload.PID)
		}
		if err != nil {
			return err
		}
	}
	results, calls := tally{limit: about.Failures}, bound{}
	for {
		err := calls.call(ctx, microseconds(about.TimeoutUSec), func(ctx context.Context) error { return p.probe(ctx, payload) })
		if payload.ended() {
			return nil
		}
		if health, changed := results.judge(err, time.Now()); changed {
			if err := p.tell(results.health, health); err != nil {
				p.Say(err) // and again after the next probe
			} else {
				results.health = health
			}
		}
		if payload.endsWithin(microseconds(about.IntervalUSec)) {
			return nil
		}
	}
}

func microseconds(n int64) time.Duration { return time.Duration(n) * time.Microsecond }

// tell tells the service manager and the unit's log of another health. WATCHDOG=trigger has the
// manager end the payload as one whose watchdog has not been fed: the unit's result is
// "watchdog", and Restart= says what follows (sd_notify(3)).
func (p Prober) tell(before, now Health) error {
	state := "STATUS=" + FormatStatus(p.Payload.PID, p.Payload.Image) + FormatHealth(now)
	restart := p.Document.Health.Restart && now.State == interfaces.HealthUnhealthy
	if restart {
		state += "\nWATCHDOG=trigger"
	}
	switch {
	case restart:
		p.Say(fmt.Errorf("unhealthy, and therefore restarted: %s", now.Reason))
	case now.State == interfaces.HealthUnhealthy:
		p.Say(fmt.Errorf("unhealthy: %s", now.Reason))
	case before.State == interfaces.HealthUnhealthy:
		p.Say(errors.New("healthy again"))
	}
	return sdnotify.Send(p.Socket, state, notifyLimit)
}

// bound bounds calls that may hang in the kernel, as on a file system of the agent's.
type bound struct {
	hanging chan struct{} // closed when the last call has returned; nil: it has
}

// call calls f, whose context ends after limit. If f does not return soon afterwards, call does,
// and further calls fail until f has returned.
func (b *bound) call(ctx context.Context, limit time.Duration, f func(context.Context) error) error {
	const grace = 2 * time.Second
	hangs := fmt.Errorf("a probe hangs for more than %v", limit)
	select {
	case <-b.hanging:
		b.hanging = nil
	default:
		if b.hanging != nil {
			return hangs
		}
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	result, done := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		result <- f(ctx)
	}()
	select {
	case err := <-result:
		return err
	case <-time.After(limit + grace):
		b.hanging = done
		return hangs
	}
}
