package launch

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/sdnotify"
	"tripleo.io/sidecar/service/document"
)

const (
	// Safety ends a wait that systemd should have ended long ago, for a plan without
	// a time-out.
	Safety = 30 * time.Minute

	// slack is by how much systemd may end a start later than at its time-out: it
	// wakes for several things at once, up to 250 ms late (sd_event_add_time(3)). Our
	// own end comes after it, so that systemd knows it for a time-out.
	slack = time.Second

	// stopGrace is how long the main process may take to end after SIGTERM.
	stopGrace = 5 * time.Second

	// notifyLimit is how long to wait for the service manager to take note. It
	// answers in a millisecond, but not while it reloads thousands of units.
	notifyLimit = 30 * time.Second
)

// Failure is the error of a launch that failed before the service manager knew the unit's
// main process.
type Failure struct {
	Phase interfaces.LaunchPhase
	Err   error
}

func (f *Failure) Error() string { return f.Err.Error() }
func (f *Failure) Unwrap() error { return f.Err }

// Run prepares what the document says, starts the payload by the engine's program
// argv[0], an absolute path, with argv and environment, and waits until it is ready.
// Then the pins are taken away, which nobody needs any more, and the service manager
// is told READY=1 and the payload's process ([FormatStatus]).
//
// The service manager hears of the unit's main process as soon as there is one: its
// exit status is then the unit's. If that one ends before it is ready, the error is
// [ErrMainEnded]; if the engine's client does, an [*ExitError]; both have said why. Other
// errors before the main process is known are a [*Failure]. When something goes wrong
// afterwards, say gets to know it first, and the service manager (phase readiness); then the
// main process is ended, and with it the unit's start: who asked for it hears of that at
// once. On every error the pins are taken away.
//
// It must be called in the unit's control group, by its first process.
func (l Launcher) Run(ctx context.Context, d *document.Document, argv, environment []string, say func(error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit(d))
	defer cancel()
	if err := l.makeReady(ctx, d, say); err != nil {
		return &Failure{interfaces.PhasePreparation, err}
	}
	socket, environment := split(environment)
	e, err := l.engine(d, argv, environment, say)
	if err != nil {
		return errors.Join(&Failure{interfaces.PhaseEngine, err}, l.Clean(d.ID))
	}
	defer e.close()
	pid, err := l.await(ctx, d, e, socket, say)
	if err != nil {
		if hint := unwritable(d); hint != nil {
			say(hint)
		}
		e.end()
		return errors.Join(err, l.Clean(d.ID))
	}
	if err := l.Clean(d.ID); err != nil {
		say(err) // not worth a working sidecar; ExecStopPost tries again
	}
	return Notify(socket, "READY=1\nSTATUS="+FormatStatus(pid), notifyLimit)
}

// makeReady does everything that comes before the engine.
func (l Launcher) makeReady(ctx context.Context, d *document.Document, say func(error)) error {
	if err := l.forget(ctx, d.ID); err != nil {
		return err
	}
	if err := checkConfiguration(d); err != nil {
		return err
	}
	if err := l.Prepare(d); err != nil {
		return err
	}
	if err := l.checkLinks(d, say); err != nil {
		return errors.Join(err, l.Clean(d.ID))
	}
	return nil
}

// engine starts the engine's client, with the payload's output.
func (l Launcher) engine(d *document.Document, argv, environment []string, say func(error)) (*engine, error) {
	output, err := l.payloadOutput(d, say)
	if err != nil {
		return nil, err
	}
	defer output.Close() // the client has it
	return startEngine(filepath.Join(l.base(), d.ID, socketName), output, argv, environment)
}

// limit is how long the whole may take.
func limit(d *document.Document) time.Duration {
	if d.TimeoutUSec == 0 {
		return Safety
	}
	return time.Duration(d.TimeoutUSec)*time.Microsecond + slack
}

// await waits for the engine, tells the service manager of the main process, and
// waits for the payload, whose process it returns, and for the engine's client to end.
func (l Launcher) await(ctx context.Context, d *document.Document, e *engine, socket string, say func(error)) (int, error) {
	mainPID, err := e.started(ctx)
	var exit *ExitError
	if err != nil && !errors.As(err, &exit) {
		err = &Failure{interfaces.PhaseEngine, err}
	}
	if err != nil {
		return 0, err
	}
	table, err := OwnCgroup()
	if err != nil {
		return 0, err
	}
	// From here on our own end does not end the unit's start.
	if err := sdnotify.Send(socket, fmt.Sprintf("MAINPID=%d", mainPID), notifyLimit); err != nil {
		return 0, err
	}
	main, err := watchMain(mainPID, table)
	if err != nil {
		return 0, err
	}
	defer main.Close()
	pid, err := l.Ready(ctx, d, table, mainPID)
	if err == nil {
		err = e.gone(ctx)
	}
	if err != nil && !errors.Is(err, ErrMainEnded) {
		say(err)
		_ = NotifyFailure(socket, interfaces.PhaseReadiness, err)
		err = errors.Join(ErrMainEnded, main.end())
	}
	return pid, err
}

// split takes NOTIFY_SOCKET out of the environment, and the variables that only the
// service reads from the unit (SIDECAR_…): neither is the engine's.
func split(environment []string) (socket string, kept []string) {
	for _, variable := range environment {
		value, ours := strings.CutPrefix(variable, "NOTIFY_SOCKET=")
		switch {
		case ours:
			socket = value
		case !strings.HasPrefix(variable, "SIDECAR_"):
			kept = append(kept, variable)
		}
	}
	return socket, kept
}
