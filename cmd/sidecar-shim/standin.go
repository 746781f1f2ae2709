package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
)

// An agent in a pid namespace of its own cannot see its sidecars' processes. For each
// it gets a stand-in: this program, with the command line of the call and its number in
// the pid files. A stand-in passes signals on and ends when the sidecar does. If somebody
// other than the agent starts the sidecar again, another stand-in takes its place. It also
// ends with the agent's container, unlike the sidecar, which the agent's next start
// adopts and gives a new stand-in.

// standInVariable makes the shim a stand-in. Its value is the sidecar's ID and
// invocation, separated by a blank. The command line has to be the agent's.
const standInVariable = "SIDECAR_STAND_IN"

// pidFilesVariable has the pid files of a stand-in, one on each line: policy accepts no line
// breaks in paths.
const pidFilesVariable = "SIDECAR_PID_FILES"

// readyFD is the file descriptor on which a stand-in says that it takes signals.
const readyFD = 3

// identity is one run of one sidecar.
type identity struct {
	id         string
	invocation string // systemd's invocation ID, another one for each start
}

func identityOf(s interfaces.Sidecar) identity {
	who := identity{id: s.ID}
	if s.Runtime.InvocationID != nil {
		who.invocation = *s.Runtime.InvocationID
	}
	return who
}

// is reports whether the sidecar is in this run.
func (i identity) is(s interfaces.Sidecar) bool { return identityOf(s) == i }

func (i identity) String() string { return i.id + " " + i.invocation }

func parseIdentity(text string) (identity, bool) {
	id, invocation, ok := strings.Cut(text, " ")
	_, err := interfaces.ParseID(id)
	return identity{id, invocation}, ok && err == nil
}

// leaveStandIn leaves a stand-in for the sidecar that a launch has returned.
func leaveStandIn(ctx context.Context, svc service, p program, parameters interfaces.LaunchParameters, reply *interfaces.LaunchReply) error {
	if reply.StandIn.Adopted {
		var err error
		if reply, err = takeOver(ctx, svc, p, parameters, reply); err != nil {
			return err
		}
	}
	if reply.StandIn == nil {
		return errors.New("the agent's file on the host was changed at this moment: it has no stand-ins any more; try again")
	}
	if err := endStandIns(reply.Sidecar.ID); err != nil {
		return err
	}
	return placeStandIn(ctx, identityOf(reply.Sidecar), reply.StandIn.PIDFiles)
}

// placeStandIn starts a stand-in, and puts its number into the pid files.
func placeStandIn(ctx context.Context, who identity, files []string) error {
	pid, err := startStandIn(ctx, who, files)
	if err != nil {
		return fmt.Errorf("stand-in for %s: %w", who.id, err)
	}
	for _, file := range files {
		if err := writePIDFile(file, pid); err != nil {
			_ = unix.Kill(pid, unix.SIGKILL) // our own child, which was not waited for: the number is still its own
			return fmt.Errorf("stand-in for %s: %w", who.id, err)
		}
	}
	return nil
}

// takeOver decides about a sidecar that ran already. If it has a stand-in here, or had
// one that was killed and could not pass that on, the launch is a restart: agents start
// again what they want replaced. Otherwise the agent's container is new, or the host has
// started the sidecar again: it goes on, and reads its files again, which may have changed
// in between.
func takeOver(ctx context.Context, svc service, p program, parameters interfaces.LaunchParameters, reply *interfaces.LaunchReply) (*interfaces.LaunchReply, error) {
	id := reply.Sidecar.ID
	if startedElsewhere(reply.Sidecar) {
		if !p.reloads {
			return reply, nil
		}
		err := svc.Signal(ctx, interfaces.SignalParameters{ID: id, Signal: "SIGHUP"})
		if !errors.Is(err, interfaces.ErrNoSuchSidecar) {
			return reply, err
		}
		// It has ended meanwhile: start it again.
	}
	parameters.Mode = new(interfaces.ModeReplace)
	return launch(ctx, svc, parameters, time.Now())
}

// startedElsewhere reports whether somebody else than this container started the sidecar's run.
func startedElsewhere(s interfaces.Sidecar) bool {
	standIns := ownProcesses.standInsOf(s.ID)
	if len(standIns) == 0 {
		return !startedHere(s)
	}
	return !slices.ContainsFunc(standIns, func(pid int) bool {
		who, ok := ownProcesses.process(pid).standIn()
		return ok && who.is(s)
	})
}

// startedHere reports whether the sidecar was started since this container was. It
// cannot tell after the clock was set.
func startedHere(s interfaces.Sidecar) bool {
	began, ok := ownProcesses.process(1).started()
	return ok && client.StartedSince(s, began)
}

// endStandIns ends the stand-ins for earlier runs of the sidecar. They would end seconds
// later, but an agent that looks for a command line must find one process now.
func endStandIns(id string) error {
	for _, pid := range ownProcesses.standInsOf(id) {
		if err := ignoreGone(killDirectly(pid, "SIGKILL", isStandInOf(pid, id))); err != nil {
			return fmt.Errorf("the earlier stand-in for %s: %w", id, err)
		}
	}
	return nil
}

func isStandInOf(pid int, id string) func() bool {
	return func() bool { who, ok := ownProcesses.process(pid).standIn(); return ok && who.id == id }
}

// startStandIn starts this program again, with its own command line, away from the
// caller's session, directory and pipes, and returns when it takes signals.
func startStandIn(ctx context.Context, who identity, files []string) (int, error) {
	ready, theirs, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer ready.Close()
	// The stand-in must not keep open the files that the caller has left open.
	_ = unix.CloseRange(readyFD, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	cmd := exec.Cmd{ // not CommandContext: it outlives this process
		Path:        "/proc/self/exe",
		Args:        os.Args,
		Env:         append(os.Environ(), standInVariable+"="+who.String(), pidFilesVariable+"="+strings.Join(files, "\n")),
		Dir:         "/",
		ExtraFiles:  []*os.File{theirs},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return 0, err
	}
	stop := context.AfterFunc(ctx, func() { _ = ready.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	// The stand-in writes a byte and closes the pipe.
	if word, err := io.ReadAll(ready); err != nil || len(word) == 0 {
		_ = cmd.Process.Kill()
		return 0, errors.Join(errors.New("it did not start"), err)
	}
	return cmd.Process.Pid, nil
}

// removePIDFiles removes the pid files that name a process: its number is free when it has ended.
func removePIDFiles(files []string, pid int) {
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(text)) == strconv.Itoa(pid) {
			_ = os.Remove(file) // the agent looks at the command line, too
		}
	}
}

// writePIDFile replaces a pid file by rename, so that a reader finds the old content or
// the new one. It makes a new file, because a sidecar that can write to the directory
// could have put a link in its place.
func writePIDFile(file string, pid int) error {
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*.pid")
	if err != nil {
		return err
	}
	_, err = f.WriteString(strconv.Itoa(pid) + "\n")
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
