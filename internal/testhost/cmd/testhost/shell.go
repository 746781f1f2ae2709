package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"tripleo.io/sidecar/internal/testhost"
)

// shellCommand returns the command that gives a developer a shell.
func shellCommand() *cobra.Command {
	var host hostFlags
	cmd := &cobra.Command{
		Use:   "shell",
		Short: "Boot a host and open a shell in it; the host ends with the shell",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return host.withHost(cmd.Context(), shell)
		},
	}
	host.add(cmd)
	return cmd
}

// shell runs an interactive shell. A ctrl-c is for what runs in it, and must
// not end the host.
func shell(host *testhost.Host) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	_, err := host.Run(ctx, testhost.Command{
		Args: []string{"bash", "-l"}, Terminal: true,
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	})
	return err
}
