package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// reloadTimeout is how long sidecard -reload waits for the daemon.
	reloadTimeout = 30 * time.Second
	// reloadPoll is how often it looks.
	reloadPoll = 20 * time.Millisecond
)

// requestReload makes the daemon of that process read its policy files, and returns
// why it does not take them. A reload that has begun after the verdict was read has
// read files that are no older than this call, whoever asked for it. Without a verdict
// to begin with, requestReload asks for the reload and returns an error.
func requestReload(ctx context.Context, runtimeDirectory string, pid int) error {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	defer unix.Close(pidfd)
	before, unknown := readVerdict(runtimeDirectory)
	if err := unix.PidfdSendSignal(pidfd, unix.SIGHUP, nil, 0); err != nil {
		return fmt.Errorf("signal process %d: %w", pid, err)
	}
	if unknown != nil {
		return fmt.Errorf("sidecard (process %d) was told to reload, and its log says what became of it: %w", pid, unknown)
	}
	ctx, cancel := context.WithTimeout(ctx, reloadTimeout)
	defer cancel()
	for {
		now, err := readVerdict(runtimeDirectory)
		switch {
		case err != nil:
			return err
		case now.Ended > before.Begun && now.Error != "":
			return errors.New(now.Error)
		case now.Ended > before.Begun:
			return nil
		case hasEnded(pidfd):
			return fmt.Errorf("sidecard (process %d) has ended before it had reloaded", pid)
		}
		select {
		case <-time.After(reloadPoll):
		case <-ctx.Done():
			return fmt.Errorf("sidecard (process %d) has not written within %v that it has reloaded: see its log", pid, reloadTimeout)
		}
	}
}

// hasEnded reports whether the process of a pidfd has ended (pidfd_open(2)).
func hasEnded(pidfd int) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 0)
	return err == nil && n > 0
}

// reload takes the policy files as they are now, all of them or none, and says in the
// verdict what became of it.
func (d *daemon) reload(ctx context.Context) {
	d.notify("RELOADING=1\n" + monotonicUSec())
	begun := d.tellBegin()
	err := d.takePolicy(ctx)
	if err != nil {
		d.logger.Error("reload failed", "error", err)
	}
	d.failed = err != nil
	if begun {
		d.tellEnd(err)
	}
	d.notify("READY=1\nSTATUS=" + d.status())
}

// tellBegin writes that a reload has begun, and reports whether it could. If it could not,
// the reload's end must not be written either: a client that reads the file during the
// reload would take that end for the end of the reload that it asks for.
func (d *daemon) tellBegin() bool {
	d.verdict.Begun++
	return d.tell()
}

// tellEnd writes how the reload of the last tellBegin has ended.
func (d *daemon) tellEnd(err error) {
	d.verdict.Ended, d.verdict.Error = d.verdict.Begun, ""
	if err != nil {
		d.verdict.Error = err.Error()
	}
	d.tell()
}

// takePolicy reads the policy files and opens and closes sockets accordingly.
func (d *daemon) takePolicy(ctx context.Context) error {
	set, err := loadPolicy(d.options, d.logger)
	if err != nil {
		return fmt.Errorf("the policy of before stays in force:\n%w", err)
	}
	d.core.SetPolicy(set)
	d.agents, d.profiles = len(set.Agents()), len(set.Profiles())
	if err := d.listeners.set(ctx, set.Agents()); err != nil {
		return fmt.Errorf("the new policy is in force, but the host's socket is not served: %w", err)
	}
	d.logger.Info("policy reloaded", "agents", d.agents, "profiles", d.profiles)
	return nil
}

// tell writes the verdict, and reports whether it could.
func (d *daemon) tell() bool {
	err := d.verdict.write(d.options.runtimeDirectory)
	if err != nil {
		d.logger.Error("cannot write what became of a reload; sidecard -reload does not learn it", "error", err)
	}
	return err == nil
}

// status is what systemctl status shows.
func (d *daemon) status() string {
	text := fmt.Sprintf("%d agents, %d profiles", d.agents, d.profiles)
	if d.failed {
		text += "; the last reload failed: see the log"
	}
	return text
}

// printReload is the main function of sidecard -reload.
func printReload(o options) int {
	if err := requestReload(context.Background(), o.runtimeDirectory, o.reload); err != nil {
		fmt.Fprintln(os.Stderr, "reload failed:", err)
		return 1
	}
	return 0
}
