// Sidecar-launch runs as root in a sidecar's unit, around the container engine. People do not
// call it; units do:
//
//	sidecar-launch exec     ExecStart
//	sidecar-launch probe    what exec becomes if the profile has a probe: it stays beside the payload
//	sidecar-launch clean    ExecStopPost
//	sidecar-launch prepare  ExecStart of the units that prepare images (sidecar-prepare-*.service)
//	sidecar-launch sweep    sidecar-clean.service
//	sidecar-launch create-namespace, delete-namespace
//	                        ExecStart and ExecStopPost of sidecar-namespace:*.service
//	sidecar-launch version
//
// exec, clean and prepare read the unit's document from the environment (package document). When
// sidecar-launch fails, it prints one line that begins with "sidecar-launch: " to standard
// error, and exits with 125; when the engine's program starts nothing, exec exits with its
// exit code.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/engine"
	"tripleo.io/sidecar/service/launcher"
)

// exitFailure is also the exit code with which podman and docker fail.
const exitFailure = 125

var version = "unknown" // set by the linker

func main() {
	err := run(os.Args[1:])
	if err == nil {
		return
	}
	// A process that exited has printed why, and its last lines are for the caller of the launch.
	var exit *launcher.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(exit.Code)
	case !errors.Is(err, launcher.ErrMainEnded):
		complain(err)
	}
	os.Exit(exitFailure)
}

// complain prints an error as one line, because a line is an entry of the journal.
func complain(err error) {
	fmt.Fprintln(os.Stderr, launcher.LinePrefix+strings.ReplaceAll(err.Error(), "\n", "; "))
}

func run(args []string) error {
	if len(args) > 0 && args[0] == "probe" {
		return probe(args[1:])
	}
	if len(args) != 1 {
		return errUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	switch args[0] {
	case "version":
		fmt.Println(version)
		return nil
	case "sweep":
		if err := engine.Prune(ctx); err != nil { // the next reload tries again
			complain(err)
		}
		if err := noteOrphans(ctx); err != nil { // the next sweep tries again
			complain(err)
		}
		return launcher.Launcher{}.Sweep(ctx)
	case "exec":
		return execute(ctx)
	case "create-namespace":
		err := launcher.Launcher{}.CreateNamespace(os.Getenv(launcher.SandboxVariable), os.Getenv(launcher.SandboxKeyVariable))
		if err != nil {
			err = errors.Join(err, launcher.NotifyFailure(os.Getenv("NOTIFY_SOCKET"), interfaces.PhasePreparation, err))
		}
		return err
	case "delete-namespace":
		return launcher.Launcher{}.DeleteNamespace(os.Getenv(launcher.SandboxVariable), os.Getenv(launcher.SandboxKeyVariable))
	case "prepare":
		d, _, err := ownDocument()
		if err != nil {
			return err
		}
		return prepare(ctx, d)
	case "clean":
		d, e, err := ownDocument()
		if err != nil {
			return err
		}
		return clean(ctx, d, e)
	}
	return errUsage
}

// probe probes the payload until it ends. A signal ends it.
func probe(arguments []string) error {
	payload, err := launcher.PayloadOf(arguments)
	if err != nil {
		return err
	}
	d, e, err := ownDocument()
	if err != nil {
		return err
	}
	if d.Health == nil {
		return errors.New("the unit's document has no probe")
	}
	return launcher.Prober{
		Document: d, Payload: payload, Socket: os.Getenv("NOTIFY_SOCKET"), Say: complain,
		Exec: func(monitor []string, group string, program []string) ([]string, error) {
			return e.Exec(d, monitor, group, program)
		},
	}.Run(context.Background())
}

var errUsage = errors.New("usage: sidecar-launch exec | clean | prepare | sweep | create-namespace | delete-namespace | version")

// ownDocument reads the unit's document.
func ownDocument() (*document.Document, engine.Engine, error) {
	d, err := document.Decode(os.Environ())
	if err != nil {
		return nil, nil, err
	}
	e, err := engine.Of(d.Engine)
	return &d, e, err
}

// execute starts the payload and waits until it is ready. It tells the service manager in
// which phase that failed, but not for a main process that has ended by itself.
func execute(ctx context.Context) error {
	d, e, err := ownDocument()
	phase := interfaces.PhasePreparation
	var payload launcher.Payload
	if err == nil {
		payload, phase, err = start(ctx, d, e)
	}
	if err == nil && d.Health != nil {
		return launcher.StartProber(d, payload, os.Environ())
	}
	if err == nil || phase == "" {
		return err
	}
	if notifyErr := launcher.NotifyFailure(os.Getenv("NOTIFY_SOCKET"), phase, err); notifyErr != nil {
		complain(notifyErr)
	}
	return err
}

// prepare prepares an image, and tells the service manager why that failed.
func prepare(ctx context.Context, d *document.Document) error {
	err := engine.Prepare(ctx, d)
	if err != nil {
		err = errors.Join(err, launcher.NotifyFailure(os.Getenv("NOTIFY_SOCKET"), interfaces.PhaseEngine, err))
	}
	return err
}

// clean removes the pid files and the pins, which takes a moment, and then the container: an
// engine can hang until systemd kills us. If the removal fails, sidecar-clean.service tries
// again until it works.
func clean(ctx context.Context, d *document.Document, e engine.Engine) error {
	l, socket := launcher.Launcher{}, os.Getenv("NOTIFY_SOCKET")
	err := errors.Join(launcher.ExtendTimeout(socket, cleanLimit), l.RemovePIDFiles(d), l.Clean(d.ID))
	switch os.Getenv("SERVICE_RESULT") { // systemd.exec(5)
	case "", "success":
	case interfaces.ResultOutOfMemory:
		err = errors.Join(err, l.TellOutOfMemory(socket), keepFailed(d))
	default:
		err = errors.Join(err, keepFailed(d))
	}
	removeErr := launcher.Launcher{}.Remove(ctx, d.ID, e.Removal(d), e.Rename(d))
	if removeErr != nil {
		removeErr = errors.Join(removeErr, startSweep())
	}
	return errors.Join(err, removeErr)
}

// listLimit bounds podman's list of containers, which waits for podman's locks.
const listLimit = time.Minute

// noteOrphans has containers removed whose units do not exist.
func noteOrphans(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, listLimit)
	defer cancel()
	containers, err := engine.Containers(ctx)
	for _, c := range containers {
		err = errors.Join(err, launcher.Launcher{}.NoteOrphan(ctx, c.ID, c.Name, c.Unit, c.Removal))
	}
	return err
}

const (
	// startLimit bounds the start of sidecar-clean.service, and keepFailed.
	startLimit = 2 * time.Second
	// cleanLimit is the time until systemd kills clean. Everything but the removal and the
	// start of sidecar-clean.service takes a moment, or a second each at most.
	cleanLimit = launcher.RemoveLimit + 2*startLimit + 3*time.Second
)

func startSweep() error {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	_, err := systemctl(ctx, "start", "--no-block", "sidecar-clean.service")
	return err
}

// keepFailed has systemd stop the unit if it is to be restarted, but has never been ready: a launch
// that fails is not repeated, and its unit stays as failed. systemd itself cannot tell a launch
// from a restart.
func keepFailed(d *document.Document) error {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	id, _ := interfaces.ParseID(d.ID) // the document is valid
	text, err := systemctl(ctx, "show", "--property=ActiveEnterTimestampMonotonic,Restart", id.Unit())
	if err != nil || !strings.Contains(text, "ActiveEnterTimestampMonotonic=0\n") || strings.Contains(text, "Restart=no\n") {
		return err
	}
	_, err = systemctl(ctx, "stop", "--no-block", id.Unit())
	return err
}

// systemctl returns the output of systemctl.
func systemctl(ctx context.Context, words ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "/usr/bin/systemctl", words...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("systemctl %s: %v: %s", strings.Join(words, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// makeContainer has the engine make what its command needs. An image without the payload's
// program is the payload's failure, with podman's exit codes.
func makeContainer(ctx context.Context, d *document.Document, e engine.Engine) (string, error) {
	image, err := e.Make(ctx, d)
	if missing, ok := errors.AsType[*engine.ProgramError](err); ok {
		complain(missing)
		return "", &launcher.ExitError{Code: missing.Code}
	}
	return image, err
}

// start runs the unit's document. SIGTERM comes from systemd, at the time-out of a start that
// has no main process yet or at a Stop: neither is a failure of the engine, whatever its client
// makes of the signal, and neither must be tried again.
func start(ctx context.Context, d *document.Document, e engine.Engine) (launcher.Payload, interfaces.LaunchPhase, error) {
	payload, err := launcher.Launcher{}.Run(ctx, d, launcher.Container{
		Make: func(ctx context.Context) (string, error) { return makeContainer(ctx, d, e) }, Command: func() []string { return e.Command(d) },
		PIDFile: e.PIDFile(d), Start: e.Start(d),
	}, os.Environ(), complain)
	if err != nil && ctx.Err() != nil {
		return payload, "", &launcher.ExitError{Code: 128 + int(syscall.SIGTERM)}
	}
	if exit, ok := errors.AsType[*launcher.ExitError](err); ok && e.Failed(exit.Code) {
		return payload, interfaces.PhaseEngine, err
	} else if ok {
		return payload, interfaces.PhasePayload, err
	}
	if failure, ok := errors.AsType[*launcher.Failure](err); ok {
		return payload, failure.Phase, err
	}
	return payload, "", err
}
