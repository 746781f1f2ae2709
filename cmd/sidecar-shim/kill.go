package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/spool"
)

const (
	// killTimeout is how long a kill script may take. Neutron sends its KILL 5 s after
	// its TERM.
	killTimeout = 4 * time.Second
	// startPause is the time between two tries to signal a sidecar that is starting.
	startPause = 50 * time.Millisecond
	// killAtOnce is the time-out of a stop that replaces a SIGKILL: the shortest that
	// the service takes.
	killAtOnce = time.Microsecond
)

var (
	// errNoProcess is found in the errors about a process that does not exist.
	errNoProcess = errors.New("No such process") //nolint:staticcheck // Neutron looks for these very words
	// errStarting says that a sidecar got no signal because it is starting.
	errStarting = errors.New("the sidecar is starting and takes no signals yet")
)

// runScript is a kill script: SIG PID. It sends the signal and does not wait for its
// effect; Neutron looks for itself.
func runScript(targets, args []string) error {
	if len(args) != 2 {
		return &usageError{fmt.Sprintf("usage: SIGNAL PID, such as 15 4711; got %.200q", args)}
	}
	name, err := parseSignal(args[0])
	if err != nil {
		return err
	}
	pid, err := parsePID(args[1])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), killTimeout)
	defer cancel()
	return killer{ownProcesses, connect, targets}.kill(ctx, name, pid)
}

// parseSignal reads a signal as kill(1) and Neutron write it: 15, TERM, SIGTERM,
// each also with a dash before it. The service must take it. It returns the full name.
func parseSignal(s string) (string, error) {
	text := strings.ToUpper(strings.TrimPrefix(s, "-"))
	name := "SIG" + strings.TrimPrefix(text, "SIG")
	if number, err := strconv.ParseUint(text, 10, 8); err == nil {
		name = unix.SignalName(syscall.Signal(number))
	}
	if !slices.Contains(interfaces.Signals, name) {
		return "", &usageError{fmt.Sprintf("%.40q is not a signal for sidecars; there are %s, with or without SIG, or as numbers", s, strings.Join(interfaces.Signals, ", "))}
	}
	return name, nil
}

// parsePID reads the number of a process that may be signalled. 1 is the container's
// own first process, and kill(2) takes smaller numbers for groups of processes.
func parsePID(s string) (int, error) {
	pid, err := strconv.ParseInt(s, 10, 32)
	if err != nil || pid <= 1 || s[0] == '+' {
		return 0, &usageError{fmt.Sprintf("%.40q is not a process ID", s)}
	}
	return int(pid), nil
}

// signalNumber returns the number of a signal, 0 for an unknown name.
func signalNumber(name string) int { return int(unix.SignalNum(name)) }

// ends reports whether the signal asks a process to end.
func ends(name string) bool {
	return slices.Contains([]string{"SIGTERM", "SIGKILL", "SIGINT", "SIGQUIT"}, name)
}

// killer sends signals to processes that an agent knows by their numbers.
type killer struct {
	processes processTable
	connect   func() (service, error)
	targets   []string // other programs than sidecars that may be signalled; nil: any
}

// kill sends the signal to the process: a stand-in, a process of a sidecar, or one of
// the targets, which the agent runs itself or which is older than sidecars here. The
// error about any other process must not have the words of errNoProcess, for which
// Neutron takes the process as stopped. The sidecar is read from the process's control
// group and not looked for in List, because another sidecar
// on the host may have the same number, if the agent has a pid namespace of its own.
func (k killer) kill(ctx context.Context, name string, pid int) error {
	p := k.processes.process(pid)
	if !p.exists() {
		return noSuchProcess(pid, "")
	}
	if who, ok := p.standIn(); ok {
		return k.standIn(ctx, who, name, pid)
	}
	if id, ok := p.sidecar(); ok {
		return k.sidecar(ctx, id, name, pid)
	}
	started := p.startTicks()
	isIt := func() bool { return p.startTicks() == started && (k.targets == nil || p.runs(k.targets)) }
	if isIt() {
		return killDirectly(pid, name, isIt)
	}
	if !p.exists() {
		return noSuchProcess(pid, "")
	}
	return fmt.Errorf("process %d is neither a sidecar's nor %s: it got no signal", pid, strings.Join(k.targets, " or "))
}

// sidecar signals through the service, whichever of the sidecar's processes is meant:
// keepalived and its VRRP child cannot live without each other. If the service cannot
// be asked, the signal is sent directly: a stop must not wait for an upgrade.
func (k killer) sidecar(ctx context.Context, id, name string, pid int) error {
	p := k.processes.process(pid)
	same := func() bool { now, ok := p.sidecar(); return ok && now == id }
	err := k.signalWhenReady(ctx, p, id, name, func(interfaces.Sidecar) bool { return same() })
	switch {
	case unanswered(err):
		direct := killDirectly(pid, name, same)
		if direct != nil && !errors.Is(direct, errNoProcess) {
			return fmt.Errorf("%w; the signal cannot be sent without the service either: %v", err, direct)
		}
		return direct
	case errors.Is(err, interfaces.ErrNoSuchSidecar) && p.exists():
		return noSuchProcess(pid, fmt.Sprintf(" (it belongs to %s, which is another agent's sidecar or is ending)", id))
	case errors.Is(err, interfaces.ErrNoSuchSidecar), errors.Is(err, errStarting):
		return noSuchProcess(pid, "")
	}
	return err
}

// standIn signals the sidecar behind a stand-in, and makes the stand-in look at once
// what became of it. A stand-in cannot pass SIGKILL on, and gets one of its own.
func (k killer) standIn(ctx context.Context, who identity, name string, pid int) error {
	p := k.processes.process(pid)
	same := func() bool { now, ok := p.standIn(); return ok && now == who }
	err := k.signalWhenReady(ctx, p, who.id, name, who.is)
	switch {
	case errors.Is(err, errStarting): // the stand-in has ended meanwhile
		return noSuchProcess(pid, "")
	case errors.Is(err, interfaces.ErrNoSuchSidecar): // it ended, and the stand-in has not seen it yet
		return killDirectly(pid, "SIGKILL", same)
	case err != nil:
		return err
	case name == "SIGKILL":
		return ignoreGone(killDirectly(pid, name, same))
	case ends(name):
		return ignoreGone(killDirectly(pid, lookSignal, same))
	}
	return nil
}

// signalWhenReady signals a sidecar. While it is starting and takes no signal, it tries
// again: a SIGHUP must not get lost. Nor must a SIGHUP be sent directly, if the service
// stops answering: a program that has not installed its handler would die of it.
func (k killer) signalWhenReady(ctx context.Context, p process, id, name string, ours func(interfaces.Sidecar) bool) error {
	starting := false
	for {
		err := k.signal(ctx, id, name, ours)
		starting = starting || errors.Is(err, errStarting)
		again := errors.Is(err, errStarting) || starting && unanswered(err) && !ends(name)
		if !again || !p.exists() {
			return err
		}
		select {
		case <-time.After(startPause):
		case <-ctx.Done():
			return fmt.Errorf("sidecar %s is still starting, and got no signal", id)
		}
	}
}

// signal leaves some of the time for a kill(2) of our own.
func (k killer) signal(ctx context.Context, id, name string, ours func(interfaces.Sidecar) bool) error {
	svc, err := k.connect()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, killTimeout-500*time.Millisecond)
	defer cancel()
	return deliver(ctx, svc, id, name, ours)
}

// deliver makes the service signal a sidecar. A sidecar that is starting gets no
// signal, even if its pid file exists already: a program that has not installed its
// handlers would die of SIGHUP. Instead, a signal that ends a process stops the sidecar;
// for any other signal deliver returns errStarting, and the caller tries again. ours
// reports whether the sidecar that is starting is the one that the caller means.
func deliver(ctx context.Context, svc service, id, name string, ours func(interfaces.Sidecar) bool) error {
	unknown := svc.Signal(ctx, interfaces.SignalParameters{ID: id, Signal: name})
	if !errors.Is(unknown, interfaces.ErrNoSuchSidecar) {
		return unknown
	}
	all, err := svc.List(ctx, interfaces.ListParameters{ID: &id})
	switch {
	case err != nil && !errors.Is(err, interfaces.ErrNoSuchSidecar):
		return fmt.Errorf("%w (assumed, because the sidecar cannot be listed: %w)", errStarting, err)
	case len(all) == 0 || !ours(all[0]):
		return unknown
	}
	switch state := all[0].Runtime.State; {
	case state == interfaces.StateReady: // by now
		return errStarting
	case state != interfaces.StateStarting && state != interfaces.StateRestarting:
		return unknown
	case !ends(name):
		return errStarting
	}
	stop := interfaces.StopParameters{ID: id}
	if name == "SIGKILL" {
		stop.TimeoutUSec = new(killAtOnce.Microseconds())
	}
	_, err = svc.Stop(ctx, stop)
	return err
}

// unanswered reports whether the service cannot be asked now.
func unanswered(err error) bool {
	var socket *client.UnreachableError
	var directory *spool.UnreachableError
	return errors.As(err, &socket) || errors.As(err, &directory) ||
		slices.ContainsFunc([]error{client.ErrInterrupted, spool.ErrWithdrawn, spool.ErrUnanswered, context.DeadlineExceeded},
			func(is error) bool { return errors.Is(err, is) })
}

func noSuchProcess(pid int, more string) error {
	return fmt.Errorf("process %d%s: %w", pid, more, errNoProcess)
}

func ignoreGone(err error) error {
	if errors.Is(err, errNoProcess) {
		return nil
	}
	return err
}

// killDirectly sends a signal without the service, if same says that the same
// process still has the number. Kernels before 5.3 have no pidfds.
func killDirectly(pid int, name string, same func() bool) error {
	number := syscall.Signal(signalNumber(name))
	fd, err := unix.PidfdOpen(pid, 0)
	if err == nil {
		defer unix.Close(fd)
	}
	if errors.Is(err, unix.ESRCH) || !same() {
		return noSuchProcess(pid, "")
	}
	if err == nil {
		err = unix.PidfdSendSignal(fd, number, nil, 0)
	} else {
		err = unix.Kill(pid, number)
	}
	if errors.Is(err, unix.ESRCH) {
		return noSuchProcess(pid, "")
	}
	if err != nil {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	return nil
}
