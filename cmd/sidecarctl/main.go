// Command sidecarctl is the operator's tool: it lists, watches, launches, explains,
// signals and stops sidecars, and checks the policy files. See sidecarctl(1).
//
// Each command has a file of its own. Only print.go and the files named print_*
// write tables, only exit.go knows exit codes and hints.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
)

// version is stamped by the linker (-X main.version=…).
var version = ""

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run carries out one command line and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	t := &tool{version: ownVersion(version), terminal: newTerminal(), out: &printer{to: stdout, now: time.Now}}
	defer func() { t.agent.stop() }()
	root := newRoot(t)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = t.out.err // a full disk or a closed pipe is a failure too
	}
	if err == nil {
		return exitOK
	}
	if !t.begun { // cobra itself refused the command line
		err = &usageError{oneLine(err.Error())}
	}
	printFailure(stderr, err)
	return exitCode(err)
}

// oneLine turns cobra's suggestions, which come in lines of their own, into one.
func oneLine(s string) string {
	s = strings.Replace(s, "\n\nDid you mean this?\n", "; did you mean: ", 1)
	return strings.Join(strings.Fields(s), " ")
}

// ownVersion falls back to what the go command recorded in the binary.
func ownVersion(stamped string) string {
	if stamped != "" {
		return stamped
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
