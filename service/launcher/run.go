package launcher

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
	// defaultLimit bounds a launch whose document has no time-out. systemd should have ended
	// it long before.
	defaultLimit = 30 * time.Minute

	// slack is by how much systemd may end a start later than at its time-out: it wakes for
	// several things at once, up to 250 ms late (sd_event_add_time(3)). Our own time-out comes
	// later, so that systemd counts the start as timed out.
	slack = time.Second

	// stopGrace is how long the main process may take to end after a signal.
	stopGrace = 5 * time.Second

	// notifyLimit bounds the wait for the service manager to read a message. It takes a
	// millisecond, but longer while the manager reloads thousands of units.
	notifyLimit = 30 * time.Second
)

// Failure is an error of Run that the service manager does not know yet. The phase is
// PhaseEngine only if the engine did not do what it should: the core repeats such a launch.
type Failure struct {
	Phase interfaces.LaunchPhase
	Err   error
}

func (f *Failure) Error() string { return f.Err.Error() }
func (f *Failure) Unwrap() error { return f.Err }

// Run prepares what the document says, starts the payload with the engine's command argv (an
// absolute path and its arguments) in environment, and waits until it is ready. Then it
// removes the pins, which nobody needs any more, and notifies the service manager of READY=1
// and the payload's process ([FormatStatus]). It must be called in the unit's control group,
// by its first process.
//
// The service manager learns the unit's main process as soon as it exists; from then on that
// process's exit status is the unit's. Errors:
//
//   - [ErrMainEnded]: the main process ended before it was ready, and has said why;
//   - [*ExitError]: the engine's client exited, and has said why;
//   - [*Failure]: any other error before the main process was known, or when READY=1 could not
//     be sent.
//
// After that, an error is passed to warn and to the service manager (phase readiness), and
// Run ends the main process, so that the unit's start fails at once. On every error it
// removes the pins.
func (l Launcher) Run(ctx context.Context, d *document.Document, argv, environment []string, warn func(error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit(d))
	defer cancel()
	if err := l.prepareAll(ctx, d, warn); err != nil {
		return &Failure{interfaces.PhasePreparation, err}
	}
	socket, environment := split(environment)
	c, err := l.startEngine(d, argv, environment, warn)
	if err != nil {
		return errors.Join(&Failure{interfaces.PhasePreparation, err}, l.Clean(d.ID))
	}
	defer c.close()
	pid, err := l.await(ctx, d, c, socket, warn)
	if err != nil {
		if hint := unwritable(d); hint != nil {
			warn(hint)
		}
		c.end()
		return errors.Join(err, l.Clean(d.ID))
	}
	if err := l.Clean(d.ID); err != nil {
		warn(err) // the sidecar works, and ExecStopPost cleans again
	}
	if err := Notify(socket, "READY=1\nSTATUS="+FormatStatus(pid, ""), notifyLimit); err != nil {
		return &Failure{interfaces.PhaseReadiness, err}
	}
	return nil
}

// limit returns how long a launch may take.
func limit(d *document.Document) time.Duration {
	if d.TimeoutUSec == 0 {
		return defaultLimit
	}
	return time.Duration(d.TimeoutUSec)*time.Microsecond + slack
}

// prepareAll does all steps before the engine.
func (l Launcher) prepareAll(ctx context.Context, d *document.Document, warn func(error)) error {
	if err := l.deleteNote(ctx, d.ID); err != nil {
		return err
	}
	if err := checkConfiguration(d); err != nil {
		return err
	}
	if err := l.Prepare(d); err != nil {
		return err
	}
	if err := l.checkLinks(d, warn); err != nil {
		return errors.Join(err, l.Clean(d.ID))
	}
	return nil
}

// startEngine starts the engine's client with the payload's output.
func (l Launcher) startEngine(d *document.Document, argv, environment []string, warn func(error)) (*client, error) {
	output, err := l.payloadOutput(d, warn)
	if err != nil {
		return nil, err
	}
	defer output.Close() // the client has it
	return startClient(filepath.Join(l.base(), d.ID, socketName), output, argv, environment)
}

// await waits for the engine to start the payload, sends the main process to the service
// manager, and waits until the payload is ready and the engine's client has exited. It
// returns the payload's process.
func (l Launcher) await(ctx context.Context, d *document.Document, c *client, socket string, warn func(error)) (int, error) {
	mainPID, err := c.started(ctx)
	var exit *ExitError
	if err != nil && !errors.As(err, &exit) {
		err = &Failure{interfaces.PhaseEngine, err}
	}
	if err != nil {
		return 0, err
	}
	table, err := ownCgroup("/proc")
	if err != nil {
		return 0, &Failure{interfaces.PhasePreparation, err}
	}
	// From here on our own exit does not end the unit's start.
	if err := sdnotify.Send(socket, fmt.Sprintf("MAINPID=%d", mainPID), notifyLimit); err != nil {
		return 0, &Failure{interfaces.PhasePreparation, err}
	}
	main, err := watchMain(mainPID, table)
	if err != nil && !errors.Is(err, ErrMainEnded) {
		err = &Failure{interfaces.PhasePreparation, err}
	}
	if err != nil {
		return 0, err
	}
	defer main.Close()
	pid, err := l.Ready(ctx, d, table, mainPID)
	if err == nil {
		err = c.waitExit(ctx)
	}
	if err != nil && !errors.Is(err, ErrMainEnded) {
		warn(err)
		_ = NotifyFailure(socket, interfaces.PhaseReadiness, err)
		err = errors.Join(ErrMainEnded, main.end())
	}
	return pid, err
}

// split takes NOTIFY_SOCKET out of the environment, and the unit's document (SIDECAR_…),
// which the engine must not get.
func split(environment []string) (socket string, kept []string) {
	for _, variable := range environment {
		value, found := strings.CutPrefix(variable, "NOTIFY_SOCKET=")
		switch {
		case found:
			socket = value
		case !strings.HasPrefix(variable, "SIDECAR_"):
			kept = append(kept, variable)
		}
	}
	return socket, kept
}
