// Command sidecarctl is the operator's tool: it lists, watches, launches, explains,
// signals and stops sidecars, shows their logs, pulls their images and replaces sidecars in place,
// and checks the policy files and the host. See sidecarctl(1).
//
// Only the files named print* write to the terminal, only exit.go knows exit codes and
// hints.
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

	"github.com/spf13/cobra"

	"tripleo.io/sidecar/client"
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

// oneLine joins the lines of cobra's suggestions.
func oneLine(s string) string {
	s = strings.Replace(s, "\n\nDid you mean this?\n", "; did you mean: ", 1)
	return strings.Join(strings.Fields(s), " ")
}

// ownVersion falls back to the version that the go command recorded in the binary.
func ownVersion(stamped string) string {
	if stamped != "" {
		return stamped
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

// tool is what every command needs.
type tool struct {
	address       string
	host          string // "": this one
	transport     string
	noAskPassword bool
	output        string
	version       string
	begun         bool // the command line was understood, and a command runs
	terminal      terminal
	agent         *textAgent // nil: nobody is asked to authenticate
	out           *printer
}

const longHelp = `sidecarctl asks the sidecar service for side processes: it shows what runs, tells
why a launch is refused, and starts, signals and stops.

Results go to stdout, everything else to stderr. With -o json a result is one
JSON array or object, in the terms of the interface io.tripleo.Sidecar.

Exit codes:
  0  success
  1  any other failure
  2  the command line is wrong, or the service refused a value as malformed
  3  refused by the host's policy
  4  the sidecar does not exist
  5  the launch failed or was stopped, or the process was not ready in time
  6  the service cannot be reached, or does not answer
  7  doctor has found warnings
  8  doctor has found errors`

func newRoot(t *tool) *cobra.Command {
	root := &cobra.Command{
		Use:           "sidecarctl",
		Short:         "Show and control the side processes of containerised services",
		Long:          longHelp,
		SilenceErrors: true, // run prints them, with a hint
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			t.begun = true
			t.out.json = t.output == outputJSON
			return t.checkHost(cmd)
		},
	}
	flags := root.PersistentFlags()
	flags.StringVar(&t.address, "address", "", "socket of the service, unix:/PATH or /PATH; with --transport dbus"+
		" the address of the bus, unix:path=/PATH (default: "+client.DefaultAddress+", or the system bus)")
	flags.StringVarP(&t.host, "host", "H", "", "call the service of another host, HOST or USER@HOST: ssh runs sidecarctl there,"+
		" as a user whom the service lets in without a password")
	flags.BoolVar(&t.noAskPassword, "no-ask-password", false,
		"do not ask for the password that polkit wants; without a terminal sidecarctl never asks")
	flags.Var(newChoice(&t.transport, transports...), "transport", "how the service is called: over its varlink socket, or over D-Bus")
	flags.VarP(newChoice(&t.output, outputs...), "output", "o", "form of the result: table or json")
	completeWords(root, "transport", transports)
	completeWords(root, "output", outputs)
	root.AddCommand(
		newList(t), newShow(t), newMonitor(t), newLaunch(t), newExplain(t), newStop(t),
		newSignal(t), newLogs(t), newTop(t), newNamespace(t), newProfiles(t), newImages(t), newPull(t), newRecycle(t),
		newCheck(t), newDoctor(t), newVersion(t), newBridge(t),
	)
	return root
}
