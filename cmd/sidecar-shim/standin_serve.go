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
	// watchInterval is how often it looks for watchTime after the sidecar has vanished or was
	// started again.
	watchInterval = 500 * time.Millisecond
	watchTime     = 10 * time.Second
	// absence is how long a sidecar may be gone while it is replaced: nobody has asked the
	// stand-in to end it.
	absence = 2 * time.Second
	// followAfter is how long another run of the sidecar must be ready before the stand-in
	// follows it. A launch by the agent has ended the stand-in by then.
	followAfter = 2 * time.Second
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
	pidFiles []string
	interval time.Duration
	pending  []string  // names of signals to pass on
	hurry    time.Time // until then a signal is about to end the sidecar
	watch    time.Time // until then the sidecar may be replaced
	gone     time.Time // since then it does not exist; zero: it does
	seen     identity  // another run of it that was seen
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
	s.pidFiles = strings.FieldsFunc(os.Getenv(pidFilesVariable), func(r rune) bool { return r == '\n' })
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
	removePIDFiles(s.pidFiles, os.Getpid())
	return nil
}

// serve returns when the sidecar has ended, or another stand-in has taken over.
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

// over reports whether the sidecar is known to have ended, or another stand-in has taken over.
func (s *standIn) over() bool {
	ctx, cancel := context.WithTimeout(context.Background(), lookDeadline)
	defer cancel()
	all, err := s.svc.List(ctx, interfaces.ListParameters{ID: &s.who.id})
	if errors.Is(err, interfaces.ErrNoSuchSidecar) || err == nil && len(all) == 0 {
		return s.missing(time.Now())
	}
	if err != nil {
		return false
	}
	s.gone = time.Time{}
	switch now := all[0]; {
	case now.Runtime.State == interfaces.StateFailed:
		return true
	case s.who.is(now):
		return false
	default:
		return s.follow(ctx, now)
	}
}

// missing reports whether the sidecar, which does not exist, has ended: an operator who replaces
// it stops it first.
func (s *standIn) missing(now time.Time) bool {
	if s.gone.IsZero() {
		s.gone, s.watch = now, now.Add(watchTime)
	}
	return now.Before(s.hurry) || now.Sub(s.gone) >= absence
}

// follow leaves another stand-in for the run that the host or an operator has started, once it is
// ready, and reports whether it did.
func (s *standIn) follow(ctx context.Context, now interfaces.Sidecar) bool {
	if run := identityOf(now); run != s.seen {
		s.seen, s.watch = run, time.Now().Add(watchTime)
	}
	if now.Runtime.State != interfaces.StateReady || !readyFor(now, followAfter) {
		return false
	}
	return placeStandIn(ctx, identityOf(now), s.pidFiles) == nil // else it tries again
}

// readyFor reports whether the sidecar has been ready that long. The host and its containers have
// one clock.
func readyFor(s interfaces.Sidecar, d time.Duration) bool {
	return s.Runtime.ReadyUSec == nil || time.Since(time.UnixMicro(*s.Runtime.ReadyUSec)) >= d
}

// next returns the time until the next look.
func (s *standIn) next() time.Duration {
	if time.Now().Before(s.hurry) || len(s.pending) > 0 {
		return hurryInterval
	}
	if time.Now().Before(s.watch) {
		return watchInterval
	}
	fifth := int64(s.interval / 5)
	return s.interval + time.Duration(rand.Int64N(2*fifth)-fifth)
}
