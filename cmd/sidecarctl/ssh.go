package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/client"
)

// bridged is what the bridge on another host says first, once it has reached the service.
// Anything else is from a shell's start-up files.
const bridged = "sidecar-bridge 1\n"

// through connects to the service of another host: ssh(1) runs 'sidecarctl bridge' there. The
// connection ends with ctx. ssh's own messages go to standard error. Errors are
// *client.UnreachableError, and nothing was called then.
func through(host, address string) func(ctx context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		conn, err := startBridge(ctx, host, address)
		if err != nil {
			return nil, &client.UnreachableError{Address: "ssh:" + host, Err: err}
		}
		return conn, nil
	}
}

func startBridge(ctx context.Context, host, address string) (net.Conn, error) {
	// One socket for both directions, which can have a deadline.
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "bridge"), os.NewFile(uintptr(fds[1]), "bridge")
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	_ = ours.Close()
	if err != nil {
		return nil, err
	}
	// The far shell reads the words: the address is the only one that is not ours.
	cmd := exec.CommandContext(ctx, "ssh", "-T", "--", host, "sidecarctl", "bridge", "--address="+shellQuoted(address))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	_ = theirs.Close()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	said := make([]byte, len(bridged))
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	n, err := io.ReadFull(conn, said)
	switch {
	case !stop():
		return nil, ctx.Err()
	case err == nil && string(said) == bridged:
		return conn, nil
	case n > 0:
		_ = conn.Close()
		return nil, fmt.Errorf("%q came instead of the answer of 'sidecarctl bridge': a command that ssh runs there must print nothing of its own", said[:n])
	}
	_ = conn.Close()
	if err := <-ended; err != nil {
		return nil, fmt.Errorf("ssh: %w", err)
	}
	return nil, errors.New("ssh has ended")
}

// shellQuoted returns a word for a POSIX shell.
func shellQuoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// localCommands look at the host on which they run.
var localCommands = []string{"check", "doctor", "images", "pull", "bridge"}

// checkHost returns why a command cannot be carried out on the host that --host names. An empty
// name is an unset variable of a script, and must not mean this host.
func (t *tool) checkHost(cmd *cobra.Command) error {
	why := ""
	switch {
	case !cmd.Flags().Changed("host"):
	case t.host == "" || strings.HasPrefix(t.host, "-"):
		why = fmt.Sprintf("--host: %q is no host; HOST or USER@HOST is expected", t.host)
	case t.transport != transportVarlink:
		why = "--host works with --transport varlink only; 'busctl --host' calls the bus of another host"
	case slices.Contains(localCommands, cmd.Name()):
		why = fmt.Sprintf("'%s' looks at the host on which it runs: use 'ssh %s %s'", cmd.CommandPath(), t.host, cmd.CommandPath())
	}
	if why == "" {
		return nil
	}
	return &usageError{why}
}

// newBridge returns the command that --host runs on the other host.
func newBridge(t *tool) *cobra.Command {
	return &cobra.Command{
		Use:    "bridge",
		Short:  "Join standard input and output with the service's socket",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := client.New(t.address)
			if err != nil {
				return &usageError{err.Error()}
			}
			conn, err := c.Connect(cmd.Context())
			if err != nil {
				return err
			}
			defer conn.Close()
			stop := context.AfterFunc(cmd.Context(), func() { _ = conn.Close() })
			defer stop()
			if _, err := io.WriteString(os.Stdout, bridged); err != nil {
				return err
			}
			go func() {
				_, _ = bufio.NewReader(os.Stdin).WriteTo(conn)
				_ = conn.Close() // the caller has gone
			}()
			_, err = io.Copy(os.Stdout, conn)
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		},
	}
}
