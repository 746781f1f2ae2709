package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

const (
	// lookInterval is how often a stand-in looks for its sidecar, give or take a fifth,
	// so that hundreds do not ask at once. Through the spool, where each look costs the
	// host a process, it is spoolInterval.
	lookInterval  = 5 * time.Second
	spoolInterval = 60 * time.Second
	// hurryInterval is how often it looks for hurryTime after a signal that should
	// end the sidecar. Neutron waits 5 s for that.
	hurryInterval = 100 * time.Millisecond
	hurryTime     = 6 * time.Second
	// lookDeadline is how long one call of the service may take.
	lookDeadline = 3 * time.Second
	// maxReceived is how many signals are kept while a call is under way.
	maxReceived = 16
	// lookSignal makes a stand-in look at once, and for a while often.
	lookSignal = "SIGALRM"
)

// standIn passes signals on to a sidecar until that has ended.
type standIn struct {
	svc      service
	who      identity
	interval time.Duration
	pending  []string // names of signals to pass on
	hurry    time.Time
}

// beStandIn is the main function of a stand-in. Its standard streams are /dev/null; a
// pipe tells its parent that it is ready, or that it has ended.
func beStandIn(name, text string) error {
	who, ok := parseIdentity(text)
	var st unix.Stat_t
	if err := unix.Fstat(readyFD, &st); !ok || err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return fmt.Errorf("the environment has %s, which is not meant to be set by hand", standInVariable)
	}
	runtime.GOMAXPROCS(1)  // it lives long and does little:
	debug.SetGCPercent(20) // small is better than quick
	svc, err := connect()
	if err != nil {
		return err
	}
	s := &standIn{svc: svc, who: who, interval: lookInterval}
	if _, ok := svc.(spooled); ok {
		s.interval = spoolInterval
	}
	signals := make(chan os.Signal, maxReceived)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTERM, syscall.SIGALRM)
	// ps then shows the program's name instead of /proc/self/exe.
	_ = os.WriteFile("/proc/self/comm", []byte(name), 0o600)
	if _, err := unix.Write(readyFD, []byte{1}); err != nil {
		return err
	}
	_ = unix.Close(readyFD)
	debug.FreeOSMemory()
	s.serve(signals)
	removePIDFiles(strings.Split(os.Getenv(pidFilesVariable), "\n"), os.Getpid())
	return nil
}

// serve returns when the sidecar has ended or was replaced.
func (s *standIn) serve(signals <-chan os.Signal) {
	timer := time.NewTimer(s.next())
	defer timer.Stop()
	for {
		select {
		case received := <-signals:
			s.take(received)
		case <-timer.C:
		}
		if s.pass(); s.over() {
			return
		}
		timer.Reset(s.next())
	}
}

// take notes a signal, each only once, as the kernel does: so none is dropped, however
// long the service is away.
func (s *standIn) take(received os.Signal) {
	number, _ := received.(syscall.Signal)
	name := unix.SignalName(number)
	if name == lookSignal || ends(name) {
		s.hurry = time.Now().Add(hurryTime)
	}
	if name != lookSignal && !slices.Contains(s.pending, name) {
		s.pending = append(s.pending, name)
	}
}

// pass sends the pending signals to the sidecar. While the service cannot be asked, they
// stay pending.
func (s *standIn) pass() {
	for len(s.pending) > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), lookDeadline)
		err := deliver(ctx, s.svc, s.who.id, s.pending[0], s.who.is)
		cancel()
		if unanswered(err) || errors.Is(err, interfaces.ErrOverloaded) || errors.Is(err, errStarting) {
			return
		}
		s.pending = s.pending[1:]
	}
}

// over reports whether the sidecar is known to have ended or to have been replaced.
func (s *standIn) over() bool {
	ctx, cancel := context.WithTimeout(context.Background(), lookDeadline)
	defer cancel()
	all, err := s.svc.List(ctx, interfaces.ListParameters{ID: &s.who.id})
	if errors.Is(err, interfaces.ErrNoSuchSidecar) {
		return true
	}
	if err != nil {
		return false
	}
	return len(all) == 0 || all[0].Runtime.State == interfaces.StateFailed || identityOf(all[0]) != s.who
}

// next returns the time until the next look.
func (s *standIn) next() time.Duration {
	if time.Now().Before(s.hurry) || len(s.pending) > 0 {
		return hurryInterval
	}
	fifth := int64(s.interval / 5)
	return s.interval + time.Duration(rand.Int64N(2*fifth)-fifth)
}
