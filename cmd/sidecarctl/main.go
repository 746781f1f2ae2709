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
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/internal/paths"
)

// version is stamped by the linker (-X main.version=…).
var version = ""

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

var longHelp = `sidecarctl asks the sidecar service, sidecard(8), over its varlink interface
io.tripleo.Sidecar(7), or over the same interface on the system bus,
io.tripleo.Sidecar1(5). It shows what runs and what it logs, tells why a launch is
refused, starts, signals and stops sidecars, replaces them when there is a new
image, and finds what is out of line on the host.

A sidecar's ID is AGENT.PROFILE.HASH; the name of its unit can be given instead.
A DURATION is a number with a unit, such as 500ms, 90s or 5m.

Results go to the standard output, everything else to the standard error. With
-o json a result is one JSON array or object in the terms of the interface. A
failure is a line that begins with "error:" and, if there is a remedy, a line that
begins with "hint:". In text from agents and programs every character that is not
printable is shown as an escape.

The default of --address inside an agent's container is the agent's own socket.

With --host, ssh(1) runs 'sidecarctl bridge' on the other host for each call; ssh's
settings for the host, such as ControlMaster, apply. The service must let that user in
without a password: root, or a user whom a polkit rule allows. check, doctor, images
and pull look at the host on which they run: use 'ssh HOST sidecarctl doctor'.

With --transport dbus the answers, the errors and the exit codes are the same. Users
other than root must use it if the kernel (before 6.5) or polkit (before 124) is too
old to identify the caller on a socket for certain.

If the user is not root and the standard input is a terminal, pkttyagent(1) asks
there for the password that polkit wants, unless the session has an authentication
agent of its own, or --no-ask-password is given. Without a terminal nobody is asked,
and calls that need authentication are refused.

Exit codes:

    0  success
    1  any other failure
    2  the command line is wrong, or the service refused a value as malformed
    3  refused by the host's policy: an argument, a namespace, a profile, an agent,
       the number of sidecars, or the caller
    4  the sidecar does not exist
    5  the launch failed or was stopped, or the process was not ready in time
    6  the service cannot be reached, or does not answer; a call that has begun may
       have been carried out
    7  doctor has found warnings
    8  doctor has found errors

Files:

    /run/sidecar/io.tripleo.Sidecar
        the service's socket
    /usr/share/polkit-1/actions/io.tripleo.sidecar.policy
        the polkit actions, for users other than root
    ` + paths.Vendor + `, ` + paths.Host + `
        the policy files of the distribution and of this host, see sidecar-policy(5)

'sidecarctl completion SHELL' prints a script that makes bash, zsh, fish or
powershell complete commands, options, IDs and profiles.`

func newRoot(t *tool) *cobra.Command {
	root := &cobra.Command{
		Use:   "sidecarctl",
		Short: "Show and control the side processes of containerised services",
		Long:  longHelp,
		Example: `  sidecarctl launch dnsmasq --agent neutron-dhcp --netns qdhcp-1 -- \
      --no-hosts '' --pid-file=/var/lib/neutron/dhcp/1/pid
  sidecarctl list --agent neutron-dhcp
  sidecarctl list -o json | jq -r '.[] | select(.runtime.state == "failed") | .id'
  sidecarctl signal neutron-dhcp.dnsmasq.3f1c0a9be2d4 HUP
  sidecarctl logs -f --agent neutron-dhcp
  sidecarctl top -b --profile dnsmasq
  sidecarctl pull && sidecarctl recycle --outdated --pause 5s
  sidecarctl monitor -o json | jq --unbuffered -r 'select(.kind == "failed") | .id'`,
		SilenceErrors: true, // run prints them, with a hint
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			t.begun = true
			t.out.json = t.output == outputJSON
			return t.checkHost(cmd)
		},
	}
	flags := root.PersistentFlags()
	flags.StringVar(&t.address, "address", "", "socket of the service, an `ADDRESS` such as unix:/PATH or /PATH; with --transport dbus"+
		" the address of the bus, unix:path=/PATH (default: "+client.DefaultAddress+", or the system bus)")
	flags.StringVarP(&t.host, "host", "H", "", "call the service of another `HOST`, or USER@HOST, over ssh")
	flags.BoolVar(&t.noAskPassword, "no-ask-password", false, "do not ask for the password that polkit wants")
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
