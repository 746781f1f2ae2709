// Sidecar-launch is the part of a sidecar's unit that runs as root on the host,
// around the container engine. People do not call it; units do:
//
//	sidecar-launch exec PLAN -- PROGRAM [ARGUMENT...]   ExecStart
//	sidecar-launch ready PLAN                           ExecStartPost
//	sidecar-launch clean PLAN -- PROGRAM [ARGUMENT...]  ExecStopPost
//	sidecar-launch version
//
// PLAN is the JSON text that [launch.Encode] writes, itself, not a file. PROGRAM
// and its arguments are written as [launch.EncodeWords] does. The exit status is
// 125 when sidecar-launch fails, with one line on standard error that begins with
// "sidecar-launch: "; after exec it is the program's.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"tripleo.io/sidecar/service/launch"
)

// exitFailure is what podman and docker use too when they fail themselves.
const exitFailure = 125

// notifyLimit is how long to wait for the service manager to take note. It
// answers in a millisecond, but not while it reloads thousands of units.
const notifyLimit = 30 * time.Second

var version = "unknown" // set by the linker

func main() {
	err := run(os.Args[1:])
	if err == nil {
		return
	}
	// A process that ended by itself has said why, and systemd says how: its last
	// lines are what the caller of the launch gets to see.
	if !errors.Is(err, launch.ErrMainEnded) {
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
	if len(args) < 2 {
		return errors.New("usage: sidecar-launch exec PLAN -- PROGRAM [ARGUMENT...] | ready PLAN | clean PLAN -- PROGRAM [ARGUMENT...] | version")
	}
	plan, err := launch.Decode(args[1])
	if err != nil {
		return err
	}
	rest := args[2:]
	if args[0] == "ready" && len(rest) == 0 {
		return ready(plan)
	}
	if len(rest) < 2 || rest[0] != "--" {
		return fmt.Errorf("wrong command or arguments: %.100q", args[0])
	}
	argv, err := launch.DecodeWords(rest[1:])
	if err != nil {
		return err
	}
	switch args[0] {
	case "exec":
		return launch.Launcher{}.Exec(plan, argv, os.Environ())
	case "clean":
		return clean(plan, argv)
	}
	return fmt.Errorf("wrong command or arguments: %.100q", args[0])
}

// clean takes the pins away, and then what the engine left. The pins go first:
// that takes a moment and always works, while an engine can hang, and would take
// us with it when systemd's time is up.
func clean(plan launch.Plan, argv []string) error {
	err := launch.Launcher{}.Clean(plan.ID)
	return errors.Join(err, launch.Remove(argv))
}

// ready waits, takes the pins away, which nobody needs any more, and tells
// systemd the payload's process. When systemd's time is up it sends SIGTERM;
// the error then says what was missing.
func ready(plan launch.Plan) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, launch.Safety)
	defer cancel()
	mainPID, err := strconv.Atoi(os.Getenv("MAINPID"))
	if err != nil {
		return errors.New("MAINPID is not set: ready works only as ExecStartPost= of a unit")
	}
	table, err := launch.OwnCgroup()
	if err != nil {
		return err
	}
	pid, err := (launch.Launcher{}).Ready(ctx, plan, table, mainPID)
	if err != nil {
		return err
	}
	if err := (launch.Launcher{}).Clean(plan.ID); err != nil {
		complain(err) // not worth a working sidecar; ExecStopPost tries again
	}
	return launch.Notify(os.Getenv("NOTIFY_SOCKET"), launch.FormatStatus(pid), notifyLimit)
}
