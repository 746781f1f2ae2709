package launcher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/mdlayher/socket"
	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/document"
)

const (
	// defaultJournal is where journald accepts streams, as systemd opens them for the
	// standard output of a unit (sd_journal_stream_fd(3)).
	defaultJournal = "/run/systemd/journal/stdout"

	// journalLimit bounds the wait for journald to accept a stream.
	journalLimit = 5 * time.Second

	// journalBuffer is what a stream holds while journald does not read, in bytes, as
	// for the streams that systemd opens. When it is full, the writer waits.
	journalBuffer = 8 << 20

	// Priorities of a stream's lines (syslog(3)).
	priorityWarning = 4
	priorityInfo    = 6
)

// newSocket makes a stream socket that belongs to the payload's network namespace. A payload
// with CAP_NET_ADMIN can ask a socket that it gets, by accept(2) or as its output, for the
// namespace that it belongs to (SIOCGSKNS): the host's would give it the host's links.
func (l Launcher) newSocket(d *document.Document, name string) (*socket.Conn, error) {
	var config socket.Config
	if d.NetworkNamespace() != "" {
		ns, err := os.Open(filepath.Join(l.base(), d.ID, netnsName))
		if err != nil {
			return nil, err
		}
		defer ns.Close()
		config.NetNS = int(ns.Fd())
	}
	conn, err := socket.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0, name, &config)
	if err != nil {
		return nil, fmt.Errorf("making a socket: %w", err)
	}
	return conn, nil
}

// connect checks that the document's stream socket accepts connections, and hangs up. The
// path is walked once; the connection is to the open socket itself.
func (l Launcher) connect(d *document.Document) error {
	f := *d.Socket
	file, err := openPayloadFile(f, f.String(), unix.S_IFSOCK)
	if err != nil {
		return err
	}
	defer file.close()
	if err := l.connectTo(d, throughProc(file.File)); err != nil {
		return fmt.Errorf("%s: %w", f, err)
	}
	if file.stat.Uid != d.User || file.stat.Nlink != 1 {
		return nil // the payload has not made it
	}
	return chownSocket(file)
}

// chownSocket gives a socket of the payload to the directory's owner, the agent: a client
// that is root without CAP_DAC_OVERRIDE could not connect to it.
func chownSocket(file payloadFile) error {
	owner, err := statOf(file.dir)
	if err != nil {
		return err
	}
	if err := unix.Fchownat(int(file.Fd()), "", int(owner.Uid), -1, unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("giving %s to user %d: %v", file.Name(), owner.Uid, err)
	}
	return nil
}

// connectTo does not wait: after a full queue (EAGAIN) and a socket on which nobody listens
// yet (ECONNREFUSED) Ready tries again (connect(2)).
func (l Launcher) connectTo(d *document.Document, address string) error {
	conn, err := l.newSocket(d, "ready")
	if err != nil {
		return err
	}
	defer conn.Close()
	err = control(conn, func(fd int) error { // it is non-blocking
		return unix.Connect(fd, &unix.SockaddrUnix{Name: address})
	})
	switch err {
	case nil:
		return nil
	case unix.EAGAIN, unix.ECONNREFUSED, unix.EINTR:
		return notReady(fmt.Sprintf("connecting: %v", err))
	case unix.EPROTOTYPE:
		return errors.New("is not a stream socket")
	}
	return fmt.Errorf("connecting: %v", err)
}

// payloadOutput opens a stream to the journal for the payload's standard output and error.
// If the journal accepts no stream, the output is lost, which is passed to warn; for a
// payload that is root it is an error, because root could change the mode of the host's
// /dev/null.
func (l Launcher) payloadOutput(d *document.Document, warn func(error)) (*os.File, error) {
	output, err := l.stream(d, priorityInfo)
	if err == nil || d.User == 0 {
		return output, err
	}
	warn(fmt.Errorf("the payload's output is lost: %w", err))
	return os.OpenFile(os.DevNull, os.O_WRONLY, 0)
}

// stream opens a stream to the journal under the unit's name. journald does not look for
// priorities ("<0>") in its lines.
func (l Launcher) stream(d *document.Document, priority int) (*os.File, error) {
	conn, err := l.newSocket(d, "journal")
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), journalLimit)
	defer cancel()
	path := cmp.Or(l.Journal, defaultJournal)
	if _, err := conn.Connect(ctx, &unix.SockaddrUnix{Name: path}); err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", path, err)
	}
	if err := conn.SetWriteBuffer(journalBuffer); err != nil {
		return nil, fmt.Errorf("sizing the buffer of %s: %w", path, err)
	}
	// identifier, unit, priority, then whether to look for a priority in each line, and
	// whether to forward to syslog, the kernel's log and the console.
	id, _ := interfaces.ParseID(d.ID) // the document is valid
	header := fmt.Sprintf("%s\n%s\n%d\n0\n0\n0\n0\n", id, id.Unit(), priority)
	if _, err := conn.WriteContext(ctx, []byte(header)); err != nil {
		return nil, fmt.Errorf("writing to %s: %w", path, err)
	}
	return blocking(conn)
}

// blocking returns the connection as a file whose writes wait while the journal does not
// read, as programs expect of their standard output.
func blocking(conn *socket.Conn) (*os.File, error) {
	if err := conn.CloseRead(); err != nil {
		return nil, err
	}
	copied := -1
	err := control(conn, func(fd int) (err error) {
		if copied, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3); err == nil {
			err = unix.SetNonblock(copied, false)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(copied), "journal"), nil
}

// control calls do with the descriptor of conn.
func control(conn *socket.Conn, do func(fd int) error) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var doErr error
	if err := raw.Control(func(fd uintptr) { doErr = do(int(fd)) }); err != nil {
		return err
	}
	return doErr
}
