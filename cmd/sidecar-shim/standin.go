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
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

// An agent in a pid namespace of its own cannot see its sidecars' processes. It
// gets a stand-in for each: this program, with the command line of the call, its
// number in the pid files. It passes signals on and ends when the sidecar does. It
// ends with the agent's container as well; the sidecar does not, and the agent's
// next start adopts it and leaves a new stand-in.

// standInVariable makes the shim a stand-in, and says whose: ID and invocation, with
// a blank between. It is not in the command line, which has to be the agent's.
const standInVariable = "SIDECAR_STAND_IN"

// readyFD is where a stand-in says that it takes signals.
const readyFD = 3

// identity is one run of one sidecar.
type identity struct {
	id         string
	invocation string // systemd's invocation ID; each start has another one
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

// leaveStandIn leaves a stand-in for the sidecar that a launch has answered.
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
	pid, err := startStandIn(ctx, identityOf(reply.Sidecar))
	if err != nil {
		return fmt.Errorf("stand-in for %s: %w", reply.Sidecar.ID, err)
	}
	if err := writePIDFiles(reply.StandIn.PIDFiles, pid); err != nil {
		_ = unix.Kill(pid, unix.SIGKILL) // our own child, and not waited for: the number is its
		return fmt.Errorf("stand-in for %s: %w", reply.Sidecar.ID, err)
	}
	return nil
}

// takeOver decides about a sidecar that ran already. If it has a stand-in here, this
// launch is a restart: agents start again what they want replaced. If it had one,
// that was killed, and could not pass it on: the launch is a restart, too. Otherwise
// the agent's container is new: the sidecar goes on, and reads its files again,
// which may have changed in between.
func takeOver(ctx context.Context, svc service, p program, parameters interfaces.LaunchParameters, reply *interfaces.LaunchReply) (*interfaces.LaunchReply, error) {
	id := reply.Sidecar.ID
	if len(ownProcesses.standInsOf(id)) == 0 && !startedHere(reply.Sidecar) {
		if !p.reloads {
			return reply, nil
		}
		err := svc.Signal(ctx, interfaces.SignalParameters{ID: id, Signal: "SIGHUP"})
		if !errors.Is(err, interfaces.ErrNoSuchSidecar) {
			return reply, err
		}
		// It has ended meanwhile: start it anew.
	}
	parameters.Mode = new(interfaces.ModeReplace)
	return launch(ctx, svc, parameters, time.Now())
}

// startedHere reports whether the sidecar was started since this container was. That
// of an adopted one, or after the clock was set, it does not know.
func startedHere(s interfaces.Sidecar) bool {
	began, ok := ownProcesses.process(1).started()
	return ok && startedSince(s, began)
}

// endStandIns ends the stand-ins for what ran before. They would see it themselves,
// seconds later, and an agent that looks for a command line wants to find one process
// now.
func endStandIns(id string) error {
	for _, pid := range ownProcesses.standInsOf(id) {
		if err := ignoreGone(killDirectly(pid, "SIGKILL", isStandInOf(pid, id))); err != nil {
			return fmt.Errorf("the stand-in that was there for %s: %w", id, err)
		}
	}
	return nil
}

func isStandInOf(pid int, id string) func() bool {
	return func() bool { who, ok := ownProcesses.process(pid).standIn(); return ok && who.id == id }
}

// startStandIn starts this program once more, with its own command line, away from
// the caller's session, directory and pipes, and returns when it takes signals.
func startStandIn(ctx context.Context, who identity) (int, error) {
	ready, theirs, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer ready.Close()
	// What the caller left open is the caller's: nothing of it may stay open here.
	_ = unix.CloseRange(readyFD, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	cmd := exec.Cmd{ // not CommandContext: it is to outlive this process
		Path:        "/proc/self/exe",
		Args:        os.Args,
		Env:         append(os.Environ(), standInVariable+"="+who.String()),
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
	// A word, and then the end: when it is over, it does not hold the pipe either.
	if word, err := io.ReadAll(ready); err != nil || len(word) == 0 {
		_ = cmd.Process.Kill()
		return 0, errors.Join(errors.New("it did not start"), err)
	}
	return cmd.Process.Pid, nil
}

// writePIDFiles puts the number into each file, by rename: who reads one finds the
// old content or the new.
func writePIDFiles(files []string, pid int) error {
	for _, file := range files {
		if err := writePIDFile(file, pid); err != nil {
			return err
		}
	}
	return nil
}

// writePIDFile writes a file that nobody else has made: the directory may be one that
// a sidecar writes to as well, which could have put a link in its place.
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
