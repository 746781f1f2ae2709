// Sidecar-launch is the part of a sidecar's unit that runs as root on the host,
// around the container engine. People do not call it; units do:
//
//	sidecar-launch exec     ExecStart
//	sidecar-launch clean    ExecStopPost
//	sidecar-launch sweep    sidecar-clean.service
//	sidecar-launch version
//
// exec and clean read the unit's document from the environment (package document). The exit
// status is 125 when sidecar-launch fails, with one line on standard error that begins with
// "sidecar-launch: "; exec ends with that of the engine's program if that starts nothing.
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
	"tripleo.io/sidecar/service/launch"
)

// exitFailure is what podman and docker use too when they fail themselves.
const exitFailure = 125

var version = "unknown" // set by the linker

func main() {
	err := run(os.Args[1:])
	if err == nil {
		return
	}
	// What ended by itself has said why: its last lines are what the caller of the
	// launch gets to see.
	var exit *launch.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(exit.Code)
	case !errors.Is(err, launch.ErrMainEnded):
		complain(err)
	}
	os.Exit(exitFailure)
}

// complain prints an error as one line: in the journal a line is an entry.
func complain(err error) {
	fmt.Fprintln(os.Stderr, "sidecar-launch: "+strings.ReplaceAll(err.Error(), "\n", "; "))
}

func run(args []string) error {
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
		return launch.Launcher{}.Sweep(ctx)
	case "exec":
		return withDocument(func(d *document.Document, e engine.Engine) error { return start(ctx, d, e) })
	case "clean":
		return withDocument(func(d *document.Document, e engine.Engine) error { return clean(ctx, d, e) })
	}
	return errUsage
}

var errUsage = errors.New("usage: sidecar-launch exec | clean | sweep | version")

func withDocument(do func(*document.Document, engine.Engine) error) error {
	d, err := document.Decode(os.Environ())
	if err != nil {
		return err
	}
	e, err := engine.Of(d.Engine)
	if err != nil {
		return err
	}
	return do(&d, e)
}

// clean takes the pins away, and then what the engine left. The pins go first:
// that takes a moment and always works, while an engine can hang, and would take
// us with it when systemd's time is up.
//
// If the removal fails, sidecar-clean.service tries again until it works.
func clean(ctx context.Context, d *document.Document, e engine.Engine) error {
	err := errors.Join(launch.Launcher{}.Clean(d.ID), launch.ExtendTimeout(os.Getenv("NOTIFY_SOCKET"), cleanLimit))
	removeErr := launch.Launcher{}.Remove(ctx, d.ID, e.Removal(d), e.Rename(d))
	if removeErr != nil {
		removeErr = errors.Join(removeErr, startSweep())
	}
	return errors.Join(err, removeErr)
}

const (
	// startLimit bounds what starts sidecar-clean.service.
	startLimit = 2 * time.Second
	// cleanLimit is the time of a clean-up until systemd kills it. What it does besides
	// the removal and that start takes a moment.
	cleanLimit = launch.RemoveLimit + startLimit + time.Second
)

func startSweep() error {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, "/usr/bin/systemctl", "start", "--no-block", "sidecar-clean.service").CombinedOutput()
	if err != nil {
		return fmt.Errorf("starting sidecar-clean.service: %v: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// start starts the payload and waits until it is ready. When systemd gives up a start that
// has no main process yet, it sends SIGTERM. So does a Stop meanwhile: that is not the engine's
// failure, whatever the engine makes of it, and must not be repaired by another try.
func start(ctx context.Context, d *document.Document, e engine.Engine) error {
	err := launch.Launcher{}.Run(ctx, d, e.Command(d), os.Environ(), complain)
	if err != nil && ctx.Err() != nil {
		return &launch.ExitError{Code: 128 + int(syscall.SIGTERM)}
	}
	var exit *launch.ExitError
	var failure *launch.Failure
	socket := os.Getenv("NOTIFY_SOCKET")
	switch {
	case errors.As(err, &exit) && e.Failed(exit.Code):
		_ = launch.NotifyFailure(socket, interfaces.PhaseEngine, err)
	case errors.As(err, &exit):
		_ = launch.NotifyFailure(socket, interfaces.PhasePayload, err)
	case errors.As(err, &failure):
		_ = launch.NotifyFailure(socket, failure.Phase, err)
	}
	return err
}
