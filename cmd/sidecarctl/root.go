package main

import (
	"errors"

	"github.com/spf13/cobra"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
)

// tool is what every command needs.
type tool struct {
	address       string
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
  0  it was done
  1  it failed for any other reason
  2  the command line is wrong, or the service refused a value as malformed
  3  refused by the host's policy
  4  there is no such sidecar
  5  the launch failed or was stopped, or the process was not ready in time
  6  the service cannot be reached, or does not answer`

func newRoot(t *tool) *cobra.Command {
	root := &cobra.Command{
		Use:           "sidecarctl",
		Short:         "Show and control the side processes of containerised services",
		Long:          longHelp,
		SilenceErrors: true, // main prints them, with a hint
		SilenceUsage:  true,
		PersistentPreRun: func(*cobra.Command, []string) {
			t.begun = true
			t.out.json = t.output == outputJSON
		},
	}
	flags := root.PersistentFlags()
	flags.StringVar(&t.address, "address", "", "socket of the service, unix:/PATH or /PATH; with --transport dbus that of the bus, unix:path=/PATH (default: "+client.DefaultAddress+", or the system bus)")
	flags.Var(newChoice(&t.transport, transportVarlink, transportDBus), "transport", "how the service is asked: over its varlink socket, or over D-Bus")
	flags.BoolVar(&t.noAskPassword, "no-ask-password", false, "do not ask for a password where polkit wants one; without a terminal nobody is asked anyway")
	flags.VarP(newChoice(&t.output, outputTable, outputJSON), "output", "o", "form of the result: table or json")
	fixed(root, "output", outputTable, outputJSON)
	fixed(root, "transport", transportVarlink, transportDBus)
	root.AddCommand(
		newList(t), newShow(t), newMonitor(t), newLaunch(t), newExplain(t), newStop(t),
		newSignal(t), newProfiles(t), newCheck(t), newVersion(t),
	)
	return root
}

// usageError is a command line that cannot be carried out.
type usageError struct {
	message string
}

func (e *usageError) Error() string { return e.message }

// sidecarID takes an ID or, as systemctl shows it, the name of a unit.
func sidecarID(s string) (string, error) {
	if id, ok := interfaces.ParseUnit(s); ok {
		return id.String(), nil
	}
	id, err := interfaces.ParseID(s)
	if err != nil {
		return "", &usageError{err.Error() + "; 'sidecarctl list' shows the IDs"}
	}
	return id.String(), nil
}

// isUsage reports whether the fault is the command line's.
func isUsage(err error) bool {
	var usage *usageError
	return errors.As(err, &usage)
}
