package launch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tripleo.io/sidecar/service/document"
)

const (
	shortestPause = time.Millisecond
	longestPause  = 20 * time.Millisecond

	// settleGrace is how long a payload may take to handle SIGTERM and to wait for
	// events. Then it is one that never does.
	settleGrace = 2 * time.Second
)

// notYet is the reason why something is not ready but may become so.
type notYet string

func (n notYet) Error() string { return string(n) }

// prefix puts what err is about before it and keeps it a notYet.
func prefix(about string, err error) error {
	var reason notYet
	if errors.As(err, &reason) {
		return notYet(about + ": " + string(reason))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", about, err)
	}
	return nil
}

// Ready waits until the payload is ready: every pid file of the plan holds the
// number of a process of this unit, which is then replaced by its number in
// our pid namespace (what lies in a private mount is left alone, and the number
// goes to where the agent looks for it, so what the payload writes there later
// changes nothing for the agent); the socket, if there is one, accepts a connection; with
// neither, the payload's first process exists. One that daemonizes must have left
// the foreground, too. It returns the main process of the payload, in our pid
// namespace.
//
// The first process of a pid namespace of its own must handle SIGTERM before
// anything else is done. haproxy writes its pid file before that, and an agent that
// stops it right away would not be heard. radvd reads its pid file once more before
// that, and ends when it has another number in it.
//
// A pid file says that its process exists, not that its start is over: dnsmasq writes it
// before it drops its privileges, and ends if it cannot. So the process must also be seen
// asleep, as it is in the main loop of every program here: on its way to an early end it
// runs.
//
// mainPID is the unit's main process: when it ends, the wait ends with
// [ErrMainEnded]. What can never become right, such as a directory in place of a
// pid file, ends it too. When ctx ends, the error says what was missing last; so it
// does when the main process ends no earlier than 2*slack before: that is systemd's
// time-out, and the process was told to end.
func (l Launcher) Ready(ctx context.Context, d *document.Document, table ProcessTable, mainPID int) (int, error) {
	if err := d.Validate(); err != nil {
		return 0, err
	}
	main, err := watchMain(mainPID, table)
	if err != nil {
		return 0, err
	}
	defer main.Close()
	w := waiter{launcher: l, document: d, table: table, mainPID: mainPID, pending: d.PIDFiles}
	started := time.Now()
	for {
		pid, err := w.look()
		var reason notYet
		if !errors.As(err, &reason) {
			return pid, err
		}
		err = main.wait(pause(time.Since(started)))
		if err != nil && !late(ctx) {
			return 0, err
		}
		if err != nil || ctx.Err() != nil {
			return 0, fmt.Errorf("not ready after %v: %s", time.Since(started).Round(time.Millisecond), reason)
		}
	}
}

// late reports whether the time-out is over as systemd sees it.
func late(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ok && time.Until(deadline) < 2*slack
}

// pause is how long to wait before the next look, after having waited for the
// given time. Looking costs some ten microseconds, and a wait is prolonged by a
// sixteenth at most. There is no inotify here: the directory is the agent's,
// and so would be the number of events.
func pause(waited time.Duration) time.Duration {
	return min(max(waited/16, shortestPause), longestPause)
}

// waiter is what has been found so far.
type waiter struct {
	launcher Launcher
	document *document.Document
	table    ProcessTable
	mainPID  int
	pending  []document.File // pid files that are not translated yet
	main     Process         // of the payload, PID 0 while unknown
	seen     time.Time       // when a process was first seen that has not settled
}

// look does what can be done now. Its error is a notYet when something is
// still missing.
func (w *waiter) look() (int, error) {
	for len(w.pending) > 0 {
		process, err := w.translate(w.pending[0])
		if err != nil {
			return 0, err
		}
		if w.main.PID == 0 {
			w.main = process
		}
		w.pending = w.pending[1:]
	}
	if w.document.Socket != nil {
		if err := w.launcher.connect(w.document); err != nil {
			return 0, err
		}
	}
	if w.main.PID == 0 || w.document.Daemonizes() {
		process, err := payload(w.document, w.table, w.main, w.mainPID)
		if err == nil {
			err = w.settled(process)
		}
		if err != nil {
			return 0, err
		}
		w.main = process
	}
	return w.main.PID, nil
}

// settled is a notYet as long as a process has not settled: a SIGTERM to it would be lost,
// or it runs. It waits no longer than settleGrace in all.
func (w *waiter) settled(p Process) error {
	reason := notYet("it does not handle SIGTERM yet")
	switch {
	case !p.Deaf && !p.Busy:
		return nil
	case !p.Deaf:
		reason = "it does not wait for events yet"
	}
	if w.seen.IsZero() {
		w.seen = time.Now()
	}
	if time.Since(w.seen) > settleGrace {
		return nil
	}
	return reason
}
