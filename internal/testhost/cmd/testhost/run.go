package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tripleo.io/sidecar/internal/testhost"
)

// Where things are in the host.
const (
	programDir = "/srv/testhost"
	collectDir = programDir + "/collect"
)

// maxBoots bounds how often a program may have its host booted again.
const maxBoots = 10

// afterRun bounds what is done after the program has ended: reading the
// journal and copying results out.
const afterRun = time.Minute

// runFlags are the flags of the command run.
type runFlags struct {
	host     hostFlags
	env      []string
	testdata string
	collect  string
	journal  string
	lines    int
}

// runCommand returns the command that runs one program in a fresh host.
func runCommand() *cobra.Command {
	var flags runFlags
	cmd := &cobra.Command{
		Use:   "run [flags] -- PROGRAM [ARGUMENT...]",
		Short: "Boot a host, run a program of this machine in it, and clean up",
		Long: `Boots a fresh host, copies PROGRAM into it, runs it there as root and streams
its output. The exit code is the program's, or 125 if the host failed.
A program that exits with 98 has the host rebooted, with 99 without a shutdown, and is
run again; SIDECAR_TESTHOST_BOOTS tells it how often that was.

In the program's environment SIDECAR_TESTHOST is 1, and
SIDECAR_TESTHOST_COLLECT names a directory that --collect copies out.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.host.withHost(cmd.Context(), func(host *testhost.Host) error {
				return flags.run(cmd.Context(), host, args)
			})
		},
	}
	flags.add(cmd)
	return cmd
}

// add defines the flags on the command.
func (f *runFlags) add(cmd *cobra.Command) {
	f.host.add(cmd)
	flags := cmd.Flags()
	flags.SetInterspersed(false) // the program's flags are its own
	flags.StringArrayVar(&f.env, "env", nil, "`KEY=VALUE` for the program, or KEY to pass ours on (repeatable)")
	flags.StringVar(&f.testdata, "testdata", "", "`directory` to copy into the program's working directory, if it exists")
	flags.StringVar(&f.collect, "collect", "", "`directory` that receives what the program left in $SIDECAR_TESTHOST_COLLECT")
	flags.StringVar(&f.journal, "journal", "", "on failure, show the journal of units that match `pattern` (default: all)")
	flags.IntVar(&f.lines, "journal-lines", 60, "how many lines of the journal to show")
}

// run runs the program in a booted host.
func (f *runFlags) run(ctx context.Context, host *testhost.Host, args []string) error {
	if err := f.copyIn(ctx, host, args[0]); err != nil {
		return err
	}
	code, runErr := f.runOverBoots(ctx, host, args)
	// The caller may have given up by now; there is still something to tell.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterRun)
	defer cancel()
	if runErr != nil || code != 0 {
		f.showJournal(ctx, host)
	}
	err := errors.Join(runErr, f.copyOut(ctx, host))
	if err == nil && code != 0 {
		return exitError(code)
	}
	return err
}

// runOverBoots runs the program, and again after each boot that it asks for.
func (f *runFlags) runOverBoots(ctx context.Context, host *testhost.Host, args []string) (int, error) {
	for boots := 0; ; boots++ {
		code, err := host.Run(ctx, testhost.Command{
			Args: append([]string{path.Join(programDir, filepath.Base(args[0]))}, args[1:]...),
			Env:  append(f.environment(os.LookupEnv), fmt.Sprintf("%s=%d", testhost.BootsEnv, boots)),
			Dir:  programDir, Stdout: os.Stdout, Stderr: os.Stderr,
		})
		if err != nil || code != testhost.ExitReboot && code != testhost.ExitPowerLoss || boots == maxBoots {
			return code, err
		}
		if err := host.Reboot(ctx, code == testhost.ExitPowerLoss); err != nil {
			return code, err
		}
	}
}

// copyIn brings the program and its test data into the host.
func (f *runFlags) copyIn(ctx context.Context, host *testhost.Host, program string) error {
	if err := host.CopyIn(ctx, program, programDir); err != nil {
		return err
	}
	if _, err := os.Stat(f.testdata); f.testdata != "" && err == nil {
		if err := host.CopyIn(ctx, f.testdata, programDir); err != nil {
			return err
		}
	}
	_, err := host.Run(ctx, testhost.Command{Args: []string{"mkdir", "-p", collectDir}})
	return err
}

// environment returns the variables of the program.
func (f *runFlags) environment(lookup func(string) (string, bool)) []string {
	env := []string{"SIDECAR_TESTHOST=1", "SIDECAR_TESTHOST_COLLECT=" + collectDir}
	for _, entry := range f.env {
		if strings.Contains(entry, "=") {
			env = append(env, entry)
		} else if value, ok := lookup(entry); ok {
			env = append(env, entry+"="+value)
		}
	}
	return env
}

// showJournal prints what the host's units said, as far as it can be had.
func (f *runFlags) showJournal(ctx context.Context, host *testhost.Host) {
	fmt.Fprintf(os.Stderr, "testhost: the last lines of the host's journal:\n")
	if err := host.Journal(ctx, os.Stderr, f.journal, f.lines); err != nil {
		fmt.Fprintln(os.Stderr, "testhost: no journal:", err)
	}
}

// copyOut brings the program's results to the directory of --collect.
func (f *runFlags) copyOut(ctx context.Context, host *testhost.Host) error {
	if f.collect == "" {
		return nil
	}
	if err := os.MkdirAll(f.collect, 0o755); err != nil {
		return err
	}
	return host.CopyOut(ctx, collectDir+"/.", f.collect)
}
