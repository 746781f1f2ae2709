package launcher

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/service/document"
)

const (
	shortestPause = time.Millisecond
	longestPause  = 20 * time.Millisecond

	// mainLoopGrace is how long a payload may take to handle SIGTERM and to wait for
	// events. A payload that takes longer never does.
	mainLoopGrace = 2 * time.Second

	// maxPIDFile is the longest pid file that is accepted, in bytes.
	maxPIDFile = 64
)

// notReady is the reason why the payload is not ready but may become so.
type notReady string

func (n notReady) Error() string { return string(n) }

// Ready waits until the payload is ready, and returns its main process in our pid namespace:
//
//   - every pid file holds the number of a process of this unit, which is replaced by the
//     process's number in our pid namespace. If the file lies in a private mount, our number
//     is written where the agent looks for it, so the payload cannot change it later;
//   - the socket, if the document has one, accepts a connection;
//   - without either, the payload's first process exists;
//   - a payload that daemonizes has left the foreground.
//
// The first process of a pid namespace must handle SIGTERM before its pid file is replaced:
// haproxy writes its pid file earlier, and would lose the SIGTERM of an agent that stops it
// right away; radvd reads its pid file again before it handles SIGTERM, and exits if the
// number is another one.
//
// The process must also sleep, as in the main loop of every program here: dnsmasq writes its
// pid file before it drops its privileges, and exits if it cannot.
//
// When mainPID, the unit's main process, ends, the wait ends with [ErrMainEnded]. An error
// that cannot become right, such as a directory in place of a pid file, ends it, too. When
// ctx ends, the error says what was missing last; so it does when the main process ends less
// than 2*slack before ctx does: that is systemd's time-out, which has ended the process.
func (l Launcher) Ready(ctx context.Context, d *document.Document, table ProcessTable, mainPID int) (int, error) {
	return l.ready(ctx, d, table, mainPID, false)
}

// ready is Ready for a main process that is the payload's first process itself, if it is alone.
func (l Launcher) ready(ctx context.Context, d *document.Document, table ProcessTable, mainPID int, alone bool) (int, error) {
	if err := d.Validate(); err != nil {
		return 0, err
	}
	main, err := watchMain(mainPID, table)
	if err != nil {
		return 0, err
	}
	defer main.Close()
	w := waiter{launcher: l, document: d, table: table, mainPID: mainPID, alone: alone, pending: d.PIDFiles}
	started := time.Now()
	for {
		pid, missing := w.look()
		var reason notReady
		if !errors.As(missing, &reason) {
			return pid, missing
		}
		err = main.wait(pause(time.Since(started)))
		if err != nil && !late(ctx) {
			return 0, err
		}
		if err != nil || ctx.Err() != nil {
			return 0, fmt.Errorf("not ready after %v: %v", time.Since(started).Round(time.Millisecond), missing)
		}
	}
}

// late reports whether the time-out is over as systemd sees it.
func late(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ok && time.Until(deadline) < 2*slack
}

// pause returns the time until the next look, after a wait of the given time. A look costs
// some ten microseconds, and the pause prolongs the wait by a sixteenth at most. inotify
// does not help: the directory is the agent's, and so is the number of events.
func pause(waited time.Duration) time.Duration {
	return min(max(waited/16, shortestPause), longestPause)
}

// waiter is the state of one wait for readiness.
type waiter struct {
	launcher Launcher
	document *document.Document
	table    ProcessTable
	mainPID  int
	alone    bool            // the main process is the payload's first
	pending  []document.File // pid files that are not translated yet
	main     Process         // of the payload, PID 0 while unknown
	starting time.Time       // when a process was first seen outside its main loop
}

// look does all steps that are possible now. Its error is a notReady if something is missing.
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
		process, err := payload(w.document, w.table, w.main, w.mainPID, w.alone)
		if err == nil {
			err = w.inMainLoop(process)
		}
		if err != nil {
			return 0, err
		}
		w.main = process
	}
	return w.main.PID, nil
}

// inMainLoop returns a notReady while a SIGTERM to the process would be lost, or it does not
// wait for events. In all it does so for mainLoopGrace at most.
func (w *waiter) inMainLoop(p Process) error {
	reason := notReady("the process does not handle SIGTERM yet")
	switch {
	case !p.LosesSIGTERM && !p.Busy:
		return nil
	case !p.LosesSIGTERM:
		reason = "the process does not wait for events yet"
	}
	if w.starting.IsZero() {
		w.starting = time.Now()
	}
	if time.Since(w.starting) > mainLoopGrace {
		return nil
	}
	return reason
}

// translate reads the pid file that the payload wrote, finds the process and, once that is
// in its main loop, writes its number in our pid namespace into f. That is the same file,
// unless the payload's lies in a private mount. It returns the process.
func (w *waiter) translate(f document.File) (Process, error) {
	written := w.launcher.written(w.document, f)
	file, err := openPayloadFile(written, f.String(), unix.S_IFREG)
	if err != nil {
		return Process{}, err
	}
	defer file.close()
	number, err := readPID(file.File)
	var process Process
	if err == nil {
		process, err = find(w.table, w.document.PIDNamespace, number)
	}
	if err == nil {
		err = w.inMainLoop(process)
	}
	if err != nil {
		return Process{}, fmt.Errorf("%s: %w", f, err)
	}
	dir := file.dir
	switch {
	case written != f:
		if dir, err = openParent(f); err != nil {
			return Process{}, err
		}
		defer dir.Close()
	case process.PID == number:
		return process, nil
	}
	if err := replace(dir, path.Base(f.Path), file.stat, process.PID); err != nil {
		return Process{}, fmt.Errorf("%s: %v", f, err)
	}
	return process, nil
}

// readPID reads a plain file without waiting for the holder of a lease on it (EAGAIN,
// fcntl(2)).
func readPID(pinned *os.File) (int, error) {
	fd, err := unix.Open(throughProc(pinned), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == unix.EAGAIN || err == unix.EINTR {
		return 0, notReady("the pid file is locked by a lease")
	}
	if err != nil {
		return 0, fmt.Errorf("opening the pid file: %v", err)
	}
	defer unix.Close(fd)
	buffer := make([]byte, maxPIDFile+1)
	n, err := unix.Read(fd, buffer)
	if err == unix.EAGAIN || err == unix.EINTR {
		n, err = 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading the pid file: %v", err)
	}
	return parsePID(string(buffer[:n]))
}

// parsePID reads the text of a pid file: one process id and blanks around it. An empty text
// is a notReady: programs open first and write later.
func parsePID(text string) (int, error) {
	fields := strings.Fields(text)
	switch {
	case len(text) > maxPIDFile:
		return 0, fmt.Errorf("the pid file is longer than %d bytes", maxPIDFile)
	case len(fields) == 0:
		return 0, notReady("the pid file is empty")
	case len(fields) > 1:
		return 0, fmt.Errorf("the pid file holds more than one number: %q", text)
	}
	number, err := strconv.ParseInt(fields[0], 10, 32)
	if err != nil || number < 1 || fields[0][0] == '+' {
		return 0, fmt.Errorf("the pid file holds %q, not a process id", fields[0])
	}
	return int(number), nil
}

// replace puts a new file with a number in the place of name in dir, with the owner and the
// permissions of the old file. Both names are looked up in the open directory and a rename
// follows no link, so a file that an agent swaps in can only become the agent's own pid file.
func replace(dir *os.File, name string, old unix.Stat_t, number int) error {
	temporary := "." + rand.Text() + ".pid"
	flags := unix.O_CREAT | unix.O_EXCL | unix.O_WRONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(int(dir.Fd()), temporary, flags, 0o600)
	if err != nil {
		return fmt.Errorf("making a new pid file: %v", err)
	}
	f := os.NewFile(uintptr(fd), temporary)
	defer f.Close()
	if err = fill(f, old, number); err == nil {
		err = unix.Renameat(int(dir.Fd()), temporary, int(dir.Fd()), name)
	}
	if err != nil {
		_ = unix.Unlinkat(int(dir.Fd()), temporary, 0) // the first error says more
		return fmt.Errorf("writing the new pid file: %v", err)
	}
	return nil
}

func fill(f *os.File, old unix.Stat_t, number int) error {
	if _, err := f.WriteString(strconv.Itoa(number) + "\n"); err != nil {
		return err
	}
	if err := unix.Fchown(int(f.Fd()), int(old.Uid), int(old.Gid)); err != nil {
		return err
	}
	return unix.Fchmod(int(f.Fd()), old.Mode&0o777)
}
