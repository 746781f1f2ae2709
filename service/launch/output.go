package launch

import (
	"context"
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
	// for the streams that systemd opens. Then the writer waits.
	journalBuffer = 8 << 20
)

// Priorities of a stream's lines (syslog(3)).
const (
	priorityWarning = 4
	priorityInfo    = 6
)

// payloadOutput opens a stream to the journal for the payload's standard output and
// error. Its socket belongs to the payload's network namespace: with the one that
// systemd opened for us, a payload with CAP_NET_ADMIN gets a descriptor of the host's
// network namespace (SIOCGSKNS), and through it the host's links. If the journal takes
// no stream, the output is lost and say hears why; it is an error for a payload that is
// root, which could change the mode of the host's /dev/null.
func (l Launcher) payloadOutput(d *document.Document, say func(error)) (*os.File, error) {
	output, err := l.stream(d, priorityInfo)
	if err == nil || d.User == 0 {
		return output, err
	}
	say(fmt.Errorf("the payload's output is lost: %w", err))
	return os.OpenFile(os.DevNull, os.O_WRONLY, 0)
}

// stream opens a stream to the journal under the unit's name, from the payload's
// network namespace. What is written to it is never taken for a priority ("<0>").
func (l Launcher) stream(d *document.Document, priority int) (*os.File, error) {
	config, done, err := l.inNamespace(d)
	if err != nil {
		return nil, err
	}
	defer done()
	conn, err := socket.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0, "journal", &config)
	if err != nil {
		return nil, fmt.Errorf("making a socket: %w", err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), journalLimit)
	defer cancel()
	if _, err := conn.Connect(ctx, &unix.SockaddrUnix{Name: l.journal()}); err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", l.journal(), err)
	}
	if err := conn.SetWriteBuffer(journalBuffer); err != nil {
		return nil, fmt.Errorf("sizing the buffer of %s: %w", l.journal(), err)
	}
	// identifier, unit, priority, then whether to look for a priority in each line, and
	// whether to forward to syslog, the kernel's log and the console.
	id, _ := interfaces.ParseID(d.ID) // the document is valid
	header := fmt.Sprintf("%s\n%s\n%d\n0\n0\n0\n0\n", id.Profile, id.Unit(), priority)
	if _, err := conn.WriteContext(ctx, []byte(header)); err != nil {
		return nil, fmt.Errorf("writing to %s: %w", l.journal(), err)
	}
	return blocking(conn)
}

// blocking returns the connection as a file of its own. It waits when the journal does
// not read, as programs expect of their standard output.
func blocking(conn *socket.Conn) (*os.File, error) {
	if err := conn.CloseRead(); err != nil {
		return nil, err
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	var dupErr error
	if err := raw.Control(func(own uintptr) {
		if fd, dupErr = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 3); dupErr == nil {
			dupErr = unix.SetNonblock(fd, false)
		}
	}); err != nil {
		return nil, err
	}
	if dupErr != nil {
		return nil, dupErr
	}
	return os.NewFile(uintptr(fd), "journal"), nil
}

// inNamespace opens the plan's pinned network namespace for new sockets. done closes it.
func (l Launcher) inNamespace(d *document.Document) (config socket.Config, done func(), err error) {
	if d.NetworkNamespace() == "" {
		return socket.Config{}, func() {}, nil
	}
	ns, err := os.Open(filepath.Join(l.base(), d.ID, netnsName))
	if err != nil {
		return socket.Config{}, nil, err
	}
	return socket.Config{NetNS: int(ns.Fd())}, func() { ns.Close() }, nil
}

func (l Launcher) journal() string {
	if l.Journal == "" {
		return defaultJournal
	}
	return l.Journal
}

// noInput returns a standard input that ends at once. /dev/null would be the host's
// file: a payload that is root could change its mode.
func noInput() (*os.File, error) {
	input, end, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	return input, end.Close()
}
