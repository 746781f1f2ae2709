package launcher

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
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

// Container is how an engine makes a container. Commands are absolute paths and arguments.
type Container struct {
	Make    func(context.Context) (image string, err error) // makes what Command needs, when the pins exist; returns the image's ID or ""
	Command func() []string                                 // makes the container; called after Make
	PIDFile string                                          // see [Container.startsLater]
	Start   []string
}

// startsLater reports whether Command leaves the container's first process in PIDFile, and Start
// starts the payload, which is that process. Otherwise Command starts the payload, and sends
// MAINPID= and READY=1.
func (c Container) startsLater() bool { return c.PIDFile != "" }

// Run prepares what the document says, starts the payload in the container, with environment
// for the engine, and waits until it is ready. Then it removes the pins, which nobody needs any
// more, and notifies the service manager of READY=1, the payload's process and its image
// ([FormatStatus]). It returns the payload. It must be called in the unit's control group, by its
// first process.
//
// The service manager learns the unit's main process as soon as it exists; from then on that
// process's exit status is the unit's. Errors:
//
//   - [ErrMainEnded]: the main process ended before it was ready, and has said why;
//   - [*ExitError]: the engine's client exited, and has said why;
//   - [*Failure]: any other error before the main process was known, or when READY=1 could not
//     be sent.
//
// After that, an error is passed to warn and to the service manager (phase readiness), and Run
// ends the main process, so that the unit's start fails at once. On every error it removes the
// pins.
func (l Launcher) Run(ctx context.Context, d *document.Document, container Container, environment []string, warn func(error)) (payload Payload, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit(d))
	defer cancel()
	if !container.startsLater() { // the engine looks for its mounts on the host later
		return l.run(ctx, d, container, environment, warn)
	}
	err = withOwnMounts(func() error {
		payload, err = l.run(ctx, d, container, environment, warn)
		return err
	})
	return payload, err
}

func (l Launcher) run(ctx context.Context, d *document.Document, container Container, environment []string, warn func(error)) (Payload, error) {
	image, err := l.makeContainer(ctx, d, container, warn)
	if err != nil {
		return Payload{}, err
	}
	socket, environment := split(environment)
	c, err := l.startEngine(d, container, environment, warn)
	if err != nil {
		return Payload{}, errors.Join(&Failure{interfaces.PhasePreparation, err}, l.Clean(d.ID))
	}
	defer c.close()
	payload, err := l.await(ctx, d, c, socket, warn)
	if err != nil {
		if hint := unwritable(d); hint != nil {
			warn(hint)
		}
		c.end()
		return Payload{}, errors.Join(err, l.Clean(d.ID))
	}
	if err := l.Clean(d.ID); err != nil {
		warn(err) // the sidecar works, and ExecStopPost cleans again
	}
	if err := Notify(socket, "READY=1\nSTATUS="+FormatStatus(payload.PID, image), notifyLimit); err != nil {
		return Payload{}, &Failure{interfaces.PhaseReadiness, err}
	}
	payload.Image = image
	return payload, nil
}

// makeContainer makes the pins, and what the engine's command needs.
func (l Launcher) makeContainer(ctx context.Context, d *document.Document, container Container, warn func(error)) (image string, err error) {
	if err := l.prepareAll(ctx, d, warn); err != nil {
		return "", &Failure{interfaces.PhasePreparation, err}
	}
	if image, err = container.Make(ctx); err != nil {
		return "", errors.Join(engineFailure(err), l.Clean(d.ID))
	}
	if container.startsLater() {
		if err := l.dropMounts(d); err != nil {
			return "", errors.Join(&Failure{interfaces.PhasePreparation, err}, l.Clean(d.ID))
		}
	}
	return image, nil
}

// engineFailure is a failure of the engine, unless it is an [*ExitError].
func engineFailure(err error) error {
	if _, ok := errors.AsType[*ExitError](err); ok {
		return err
	}
	return &Failure{interfaces.PhaseEngine, err}
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
func (l Launcher) startEngine(d *document.Document, container Container, environment []string, warn func(error)) (*client, error) {
	output, err := l.payloadOutput(d, warn)
	if err != nil {
		return nil, err
	}
	return startClient(filepath.Join(l.base(), d.ID, socketName), output, container, environment)
}

// await waits for the engine to start the payload, sends the main process to the service
// manager, and waits until the payload is ready and the engine's client has exited.
func (l Launcher) await(ctx context.Context, d *document.Document, c *client, socket string, warn func(error)) (Payload, error) {
	mainPID, err := c.started(ctx)
	if err != nil {
		return Payload{}, engineFailure(err)
	}
	table, err := ownCgroup("/proc")
	if err != nil {
		return Payload{}, &Failure{interfaces.PhasePreparation, err}
	}
	// From here on our own exit does not end the unit's start.
	if err := c.announce(socket, mainPID); err != nil {
		return Payload{}, &Failure{interfaces.PhasePreparation, err}
	}
	main, err := watchMain(mainPID, table)
	if err != nil && !errors.Is(err, ErrMainEnded) {
		err = &Failure{interfaces.PhasePreparation, err}
	}
	if err != nil {
		return Payload{}, err
	}
	defer main.Close()
	phase := interfaces.PhaseEngine
	var pid int
	if err = c.start(ctx); err == nil {
		phase = interfaces.PhaseReadiness
		pid, err = l.ready(ctx, d, table, mainPID, c.container.startsLater())
	}
	if err == nil {
		err = c.waitExit(ctx)
	}
	if err != nil && !errors.Is(err, ErrMainEnded) {
		warn(err)
		_ = NotifyFailure(socket, phase, err)
		signals := []unix.Signal{unix.SIGTERM, unix.SIGKILL}
		if phase == interfaces.PhaseEngine { // the payload was not started; the runtime waits in its place, and ignores SIGTERM
			signals = signals[1:]
		}
		err = errors.Join(ErrMainEnded, main.end(signals...))
	}
	return Payload{PID: pid, MainPID: mainPID}, err
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
