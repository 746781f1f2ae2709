package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

var errNoFiles = errors.New("the bus takes no file descriptors")

// Files lets calls carry a file descriptor; godbus can do so only if it also receives
// descriptors from strangers. The zero value is ready, for any number of connections.
type Files struct {
	mu sync.Mutex // held while a message with a file is written
	fd int        // of that message
}

// Send is conn.SendWithContext for a method call whose body refers to the file descriptor
// fd as dbus.UnixFDIndex(0). fd may be closed when it returns.
func (f *Files) Send(ctx context.Context, conn *dbus.Conn, call *dbus.Message, fd int, done chan *dbus.Call) *dbus.Call {
	call.Headers[dbus.FieldUnixFDs] = dbus.MakeVariant(uint32(1))
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fd = fd
	return conn.SendWithContext(ctx, call, done)
}

// negotiate asks the bus to take file descriptors, if any are to be sent. Nobody else
// reads from the socket then.
func (g *guard) negotiate() error {
	if g.files == nil {
		return nil
	}
	if _, err := g.Conn.Write([]byte("NEGOTIATE_UNIX_FD\r\n")); err != nil {
		return err
	}
	line, err := g.in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.Equal(line, []byte("AGREE_UNIX_FD\r\n")) {
		return fmt.Errorf("%w: %.100q", errNoFiles, line)
	}
	return nil
}

// send writes a whole message, with its file if it has one: then Files.Send is the caller.
func (g *guard) send(message []byte) (int, error) {
	if g.files == nil || !carriesFile(message) {
		return g.Conn.Write(message)
	}
	socket, ok := g.Conn.(*net.UnixConn)
	if !ok {
		return 0, errNoFiles
	}
	n, _, err := socket.WriteMsgUnix(message, unix.UnixRights(g.files.fd), nil)
	if err != nil || n == len(message) {
		return n, err
	}
	more, err := socket.Write(message[n:])
	return n + more, err
}

// carriesFile reports whether a message of our own says that a file comes with it.
func carriesFile(message []byte) (carries bool) {
	if len(message) < 16 {
		return false
	}
	order, ok := byteOrder(message[0])
	if !ok {
		return false
	}
	length := int(order.Uint32(message[12:]))
	if length > len(message)-16 {
		return false
	}
	eachField(message[16:16+length], order, func(field dbus.HeaderField, _ byte, _ []byte) {
		carries = carries || field == dbus.FieldUnixFDs
	})
	return carries
}
