package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/spool"
)

// killTimeout is how long a kill script may take. Neutron sends its KILL 5 s after
// its TERM.
const killTimeout = 4 * time.Second

// startPause is the time between two tries to signal a sidecar that is starting.
const startPause = 50 * time.Millisecond

// runScript is a kill script: SIG PID. It sends the signal and does not wait for
// what comes of it; Neutron looks for itself.
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

// killer sends signals to processes that an agent knows by their numbers.
type killer struct {
	processes processTable
	connect   func() (service, error)
	targets   []string // programs that may be signalled although they are no sidecars; nil: any
}

// kill sends the signal to the process: a stand-in, a process of a sidecar, or one
// of the targets, which the agent runs itself or which is from before there were sidecars
// here. The error about any other process must not have the words of errNoProcess: Neutron
// would take the process as stopped. That it is a sidecar's is
// read from its control group and not looked for in List: the number could be that
// of another sidecar on the host, where the agent's own pid namespace has a process
// of the same number.
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

// sidecar asks the service. For all of a sidecar's processes the answer is the same:
// keepalived's VRRP child cannot live without its parent, nor do without it. Where
// there is no service, the signal is sent like any foreign one, which the service
// takes for what it is: a stop must not wait for an upgrade.
func (k killer) sidecar(ctx context.Context, id, name string, pid int) error {
	p := k.processes.process(pid)
	same := func() bool { now, ok := p.sidecar(); return ok && now == id }
	err := k.signalWhenReady(ctx, p, id, name, func(interfaces.Sidecar) bool { return same() })
	switch {
	case unanswered(err):
		direct := killDirectly(pid, name, same)
		if direct != nil && !errors.Is(direct, errNoProcess) {
			return fmt.Errorf("%w; and to signal it without the service is not possible: %v", err, direct)
		}
		return direct
	case errors.Is(err, interfaces.ErrNoSuchSidecar) && p.exists():
		return noSuchProcess(pid, fmt.Sprintf(" (it belongs to %s, which is another agent's sidecar or ends just now)", id))
	case errors.Is(err, interfaces.ErrNoSuchSidecar), errors.Is(err, errStarting):
		return noSuchProcess(pid, "")
	}
	return err
}

// signalWhenReady signals a sidecar. While that takes no signal because it is starting,
// it tries again: a SIGHUP must not get lost. Nor must it be sent directly then, if the
// service does not answer any more: a program without a handler would die of it.
func (k killer) signalWhenReady(ctx context.Context, p process, id, name string, ours func(interfaces.Sidecar) bool) error {
	starting := false
	for {
		err := k.signal(ctx, id, name, ours)
		starting = starting || errors.Is(err, errStarting)
		again := errors.Is(err, errStarting) || starting && unanswered(err) && !ends(name)
		if !again || !p.exists() {
			return err
		}
		if pause(ctx, startPause) != nil {
			return fmt.Errorf("sidecar %s is starting still, and got no signal", id)
		}
	}
}

// standIn signals the sidecar behind a stand-in, and has the stand-in look at once
// what became of it. A stand-in cannot pass a KILL on: it gets its own.
func (k killer) standIn(ctx context.Context, who identity, name string, pid int) error {
	p := k.processes.process(pid)
	stillIt := func() bool { now, ok := p.standIn(); return ok && now == who }
	err := k.signalWhenReady(ctx, p, who.id, name, who.is)
	switch {
	case errors.Is(err, errStarting): // the stand-in has ended meanwhile
		return noSuchProcess(pid, "")
	case errors.Is(err, interfaces.ErrNoSuchSidecar): // it ended, and the stand-in has not seen it yet
		return killDirectly(pid, "SIGKILL", stillIt)
	case err != nil:
		return err
	case name == "SIGKILL":
		return ignoreGone(killDirectly(pid, name, stillIt))
	case ends(name):
		return ignoreGone(killDirectly(pid, lookSignal, stillIt))
	}
	return nil
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

// unanswered reports whether the service cannot be asked now.
func unanswered(err error) bool {
	var socket *client.UnreachableError
	var directory *spool.UnreachableError
	if errors.As(err, &socket) || errors.As(err, &directory) {
		return true
	}
	for _, is := range []error{client.ErrInterrupted, spool.ErrWithdrawn, spool.ErrUnanswered, context.DeadlineExceeded} {
		if errors.Is(err, is) {
			return true
		}
	}
	return false
}

// errNoProcess is found in the errors about a process that is gone.
var errNoProcess = errors.New("No such process") //nolint:staticcheck // Neutron looks for these very words

func noSuchProcess(pid int, more string) error {
	return fmt.Errorf("process %d%s: %w", pid, more, errNoProcess)
}

func ignoreGone(err error) error {
	if errors.Is(err, errNoProcess) {
		return nil
	}
	return err
}

// killDirectly sends a signal by kill(2), if stillIt holds of the process that gets
// it: a number may be reused in between. Kernels before 5.3 have no pidfds.
func killDirectly(pid int, name string, stillIt func() bool) error {
	number := syscall.Signal(signalNumber(name))
	fd, err := unix.PidfdOpen(pid, 0)
	if err == nil {
		defer unix.Close(fd)
	}
	if errors.Is(err, unix.ESRCH) || !stillIt() {
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
