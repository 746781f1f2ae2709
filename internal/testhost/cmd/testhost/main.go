// Command testhost boots a throw-away systemd host and runs a program in it.
// It is made to be the program that go test runs test binaries with:
//
//	go test -exec "testhost run --release trixie --" ./test/...
//
// It needs root. See testhost run --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"tripleo.io/sidecar/internal/testhost"
)

// exitError carries the exit code of the program that ran in the host.
type exitError int

// Error implements error.
func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func main() {
	os.Exit(run(os.Args[1:]))
}

// run executes the command line and returns the exit code: the
// program's in the host, or 125 if testhost itself failed.
func run(args []string) int {
	// go test sends SIGQUIT when a test takes too long. Whichever signal it
	// is, the host must go.
	ctx, stop := signal.NotifyContext(context.Background(),
		syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer stop()
	root := rootCommand()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var exit exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return int(exit)
	default:
		fmt.Fprintln(os.Stderr, "testhost:", err)
		return 125
	}
}

// rootCommand returns the command with its sub-commands.
func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:               "testhost",
		Short:             "Boot a throw-away systemd host and run a program in it",
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.AddCommand(runCommand(), shellCommand(), prepareCommand(), machineCommand())
	return root
}

// hostFlags are the flags that say which host to boot.
type hostFlags struct {
	release string
	spec    string
	install []string
	quiet   bool
}

// add defines the flags on a command.
func (f *hostFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.release, "release", "trixie", "Debian release of the host")
	flags.StringVar(&f.spec, "spec", "", "TOML `file` with packages, masked units and images")
	flags.StringArrayVar(&f.install, "install", nil, "staged `directory` to copy over the host's root (repeatable)")
	flags.BoolVar(&f.quiet, "quiet", false, "report only what takes long or goes wrong")
}

// config returns the host that the flags describe.
func (f *hostFlags) config() (testhost.Config, error) {
	config := testhost.Config{
		Release: f.release, Install: f.install, Log: os.Stderr, Quiet: f.quiet,
	}
	if f.spec == "" {
		return config, nil
	}
	var err error
	config.Spec, err = testhost.ReadSpec(f.spec)
	return config, err
}

// withHost boots the host of the flags, hands it to use, and closes it.
func (f *hostFlags) withHost(ctx context.Context, use func(*testhost.Host) error) (err error) {
	config, err := f.config()
	if err != nil {
		return err
	}
	host, err := testhost.Boot(ctx, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, host.Close()) }()
	return use(host)
}
