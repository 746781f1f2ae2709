package launch

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Time for [Remove], both tries together, and for its program to give up after
// SIGTERM. Their sum stays below the TimeoutStopUSec of the unit (5 s), after which
// systemd would kill us.
const (
	removeLimit = 4 * time.Second
	removeGrace = 500 * time.Millisecond
)

// Remove runs the program argv, which takes away what an engine left behind. If
// it fails it is run once more: podman 5.4 fails to remove a container whose
// monitor was killed, but notes that it has ended, and can remove it then. What
// it prints is part of the error, and is worth nothing otherwise. It takes less
// than five seconds in all.
func Remove(argv []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), removeLimit)
	defer cancel()
	err := runQuietly(ctx, argv)
	if err == nil || ctx.Err() != nil {
		return err
	}
	return runQuietly(ctx, argv)
}

func runQuietly(ctx context.Context, argv []string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = removeGrace
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil && err != nil {
		err = fmt.Errorf("not done after %v", removeLimit)
	}
	if err != nil {
		return fmt.Errorf("%s: %v: %s", argv[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}
