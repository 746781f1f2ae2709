package testhost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// outerPrograms lists what the machine itself must have, and the Debian
// package that brings it. nsenter and cp are on every machine.
var outerPrograms = map[string]string{
	"debootstrap":    "debootstrap",
	"systemd-nspawn": "systemd-container",
}

// ensure installs the programs that are missing on this machine, and says so. programs has
// the Debian package of each.
func (c Config) ensure(ctx context.Context, programs map[string]string) error {
	if os.Geteuid() != 0 {
		return errors.New("booting a test host needs root: use sudo")
	}
	missing := missingPackages(programs, exec.LookPath)
	if len(missing) == 0 {
		return nil
	}
	c.logf("installing %s on this machine with apt-get", strings.Join(missing, " "))
	install := append([]string{"apt-get", "install", "--yes", "--no-install-recommends"}, missing...)
	if runOuter(ctx, io.Discard, install...) == nil {
		return nil
	}
	// The usual reason is a list of packages that is missing or old.
	if err := runOuter(ctx, io.Discard, "apt-get", "update"); err != nil {
		return err
	}
	return runOuter(ctx, io.Discard, install...)
}

// missingPackages returns the packages whose program cannot be found.
func missingPackages(programs map[string]string, find func(string) (string, error)) []string {
	var missing []string
	for program, pkg := range programs {
		if _, err := find(program); err != nil {
			missing = append(missing, pkg)
		}
	}
	return missing
}

// outerSystemd tells whether systemd is the machine's own init; the test is
// sd_booted(3)'s.
func outerSystemd() bool {
	info, err := os.Lstat("/run/systemd/system")
	return err == nil && info.IsDir()
}

// outerKillDelay is what a cancelled command of the machine gets to tidy up.
const outerKillDelay = 10 * time.Second

// runOuter runs a command of the machine and sends its output to log. The
// error carries the end of the output. When ctx ends, the command and its
// children get SIGTERM: debootstrap unmounts what it has mounted.
func runOuter(ctx context.Context, log io.Writer, argv ...string) error {
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8")
	cmd.Stdout = io.MultiWriter(&output, log)
	cmd.Stderr = cmd.Stdout
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = outerKillDelay
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, lastLines(output.String(), 15))
	}
	return nil
}

// lastLines returns at most count lines from the end of text.
func lastLines(text string, count int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "\n")
}
