// Sidecar-launch is the part of a sidecar's unit that runs as root on the host,
// around the container engine. People do not call it; units do:
//
//	sidecar-launch exec PLAN -- PROGRAM [ARGUMENT...]   ExecStart
//	sidecar-launch clean PLAN -- PROGRAM [ARGUMENT...] [-- PROGRAM [ARGUMENT...]]  ExecStopPost
//	sidecar-launch sweep                                sidecar-clean.service
//	sidecar-launch version
//
// PLAN is the JSON text that [launch.Encode] writes, itself, not a file. PROGRAM
// and its arguments are written as [launch.EncodeWords] does. The exit status is
// 125 when sidecar-launch fails, with one line on standard error that begins with
// "sidecar-launch: "; exec ends with that of PROGRAM if it starts nothing.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
	"unsafe"

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
	if len(args) == 1 && args[0] == "version" {
		fmt.Println(version)
		return nil
	}
	if len(args) == 1 && args[0] == "sweep" {
		ctx, stop := untilTold()
		defer stop()
		return launch.Launcher{}.Sweep(ctx)
	}
	if len(args) < 2 {
		return errors.New("usage: sidecar-launch exec PLAN -- PROGRAM [ARGUMENT...] | clean PLAN -- PROGRAM [ARGUMENT...] | sweep | version")
	}
	plan, err := launch.Decode(args[1])
	if err != nil {
		return err
	}
	rest := args[2:]
	if len(rest) < 2 || rest[0] != "--" {
		return fmt.Errorf("wrong command or arguments: %.100q", args[0])
	}
	argv, err := launch.DecodeWords(rest[1:])
	if err != nil {
		return err
	}
	switch args[0] {
	case "exec":
		return start(plan, argv)
	case "clean":
		return clean(plan, argv)
	}
	return fmt.Errorf("wrong command or arguments: %.100q", args[0])
}

// clean takes the pins away, and then what the engine left. The pins go first:
// that takes a moment and always works, while an engine can hang, and would take
// us with it when systemd's time is up.
//
// If the removal fails, sidecar-clean.service tries again until it works.
func clean(plan launch.Plan, argv []string) error {
	var aside []string
	if end := slices.Index(argv, "--"); end > 0 {
		argv, aside = argv[:end], argv[end+1:]
	}
	ctx, stop := untilTold()
	defer stop()
	err := errors.Join(launch.Launcher{}.Clean(plan.ID), launch.ExtendTimeout(os.Getenv("NOTIFY_SOCKET"), cleanLimit))
	removeErr := launch.Launcher{}.Remove(ctx, plan.ID, argv, aside)
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

// untilTold returns a context that ends when systemd tells us to end.
func untilTold() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
}

// start starts the program and waits. When systemd gives up a start that has no
// main process yet, it sends SIGTERM. So does who stops or kills the unit meanwhile:
// that is not the engine's failure, whatever the engine makes of it, and is not to be
// repaired by another try.
func start(plan launch.Plan, argv []string) error {
	ctx, stop := untilTold()
	defer stop()
	hideArguments()
	err := launch.Launcher{}.Run(ctx, plan, argv, os.Environ(), complain)
	if err != nil && ctx.Err() != nil {
		return &launch.ExitError{Code: 128 + int(syscall.SIGTERM)}
	}
	var exit *launch.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, launch.ErrMainEnded) && !errors.Is(err, launch.ErrUnread) {
		// Shown by systemctl status, and read by the service: another try would not help.
		_ = launch.Notify(os.Getenv("NOTIFY_SOCKET"), "STATUS="+launch.FormatFailure(err), time.Second)
	}
	return err
}

// hideArguments blanks our command line. The payload's is in it, and callers that
// look a process up by that must find the payload alone, also in the moment in which
// it is ready and we are still there. The kernel shows what is in the memory that
// os.Args points into (proc_pid_cmdline(5)); nothing else may point there any more.
func hideArguments() {
	for _, arg := range os.Args[1:] {
		clear(unsafe.Slice(unsafe.StringData(arg), len(arg)))
	}
}
