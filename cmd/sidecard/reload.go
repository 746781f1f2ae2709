package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

const (
	// reloadTimeout is how long sidecard -reload waits for the daemon.
	reloadTimeout = 30 * time.Second
	// reloadPoll is how often it reads the verdict.
	reloadPoll = 20 * time.Millisecond
)

// verdict is the result of the running daemon's reloads. The daemon writes it to a file for
// sidecard -reload, because a signal has no answer.
type verdict struct {
	Begun int    `json:"begun"` // how many reloads have begun
	Ended int    `json:"ended"` // the number of the last one that has ended, and whose begin was written
	Error string `json:"error"` // of that one; "" if it succeeded
}

func verdictPath(runtimeDirectory string) string {
	return filepath.Join(runtimeDirectory, "reload.json")
}

func readVerdict(runtimeDirectory string) (verdict, error) {
	var v verdict
	text, err := os.ReadFile(verdictPath(runtimeDirectory))
	if err == nil {
		err = json.Unmarshal(text, &v)
	}
	if err != nil {
		err = fmt.Errorf("read the result of sidecard's reloads: %w", err)
	}
	return v, err
}

// forgetVerdict deletes the verdict of the daemon before, which is not about this one.
func forgetVerdict(runtimeDirectory string) error { return os.RemoveAll(verdictPath(runtimeDirectory)) }

// write replaces the verdict before, which stays if that fails.
func (v verdict) write(runtimeDirectory string) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	path := verdictPath(runtimeDirectory)
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// requestReload makes the daemon of that process read its policy files, and returns its
// error. Any reload that begins after the verdict was read will do: its files are no older
// than this call. If there is no verdict before, the daemon reloads nevertheless, but
// requestReload returns an error.
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
		return fmt.Errorf("sidecard (process %d) reloads, but only its log has the result: %w", pid, unknown)
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
			return fmt.Errorf("sidecard (process %d) has ended before its reload was over", pid)
		}
		select {
		case <-time.After(reloadPoll):
		case <-ctx.Done():
			return fmt.Errorf("sidecard (process %d) has not written the result of its reload within %v: see its log", pid, reloadTimeout)
		}
	}
}

// hasEnded reports whether the process of a pidfd has ended (pidfd_open(2)).
func hasEnded(pidfd int) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 0)
	return err == nil && n > 0
}

// reload takes all policy files as they are now, or none of them, and writes the verdict.
func (d *daemon) reload(ctx context.Context) {
	d.notify("RELOADING=1\n" + sd.SdNotifyMonotonicUsec())
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
// the reload's end must not be written: a client that reads the file during the reload
// would take it for the end of the reload that it asks for.
func (d *daemon) tellBegin() bool {
	d.verdict.Begun++
	return d.tell()
}

// tellEnd writes the result of the reload of the last tellBegin.
func (d *daemon) tellEnd(err error) {
	d.verdict.Ended, d.verdict.Error = d.verdict.Begun, ""
	if err != nil {
		d.verdict.Error = err.Error()
	}
	d.tell()
}

// tell writes the verdict, and reports whether it could.
func (d *daemon) tell() bool {
	err := d.verdict.write(d.options.runtimeDirectory)
	if err != nil {
		d.logger.Error("cannot write the result of a reload for sidecard -reload", "error", err)
	}
	return err == nil
}

// takePolicy reads the policy files and opens and closes sockets accordingly.
func (d *daemon) takePolicy(ctx context.Context) error {
	set, err := loadPolicy(d.options, d.logger)
	d.metrics.Reloaded(set)
	if err != nil {
		return fmt.Errorf("the previous policy stays in force:\n%w", err)
	}
	d.core.SetPolicy(set)
	go d.core.LimitAgents(ctx)
	go d.core.PrepareImages(ctx)
	d.agents, d.profiles = len(set.Agents()), len(set.Profiles())
	if err := d.listeners.set(ctx, set.Agents()); err != nil {
		return fmt.Errorf("the new policy is in force, but the host's socket is not served: %w", err)
	}
	d.logger.Info("policy reloaded", "agents", d.agents, "profiles", d.profiles)
	return nil
}
