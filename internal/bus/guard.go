package bus

import (
	"bufio"
	"errors"
	"io"
	"net"
	"time"

	"github.com/godbus/dbus/v5"
)

// Limits of what is read from the bus. The bus itself allows 32 MiB a message. A
// list of ten thousand units takes about 3 MiB.
const (
	maxHeader = 64 << 10
	maxBody   = 16 << 20
)

var errByteOrder = errors.New("bus sent a message of unknown byte order")

// guard is the socket of a bus connection. It skips every message that is not accepted
// before godbus decodes it: any user of the bus may send signals of 32 MiB straight to any
// connection, and godbus needs many times the memory of some. It reads plain bytes, so the
// kernel drops file descriptors that come with them.
//
// Read is for one goroutine, as is Write.
type guard struct {
	net.Conn
	in      *bufio.Reader
	accept  func(Header) bool
	calls   func(Header, []byte)
	files   *Files        // nil: messages carry none
	timeout time.Duration // of one write
	framed  bool          // authentication is over
	header  []byte        // of the current message, as far as it is not read yet
	body    int64         // bytes of its body that are not read yet
}

func newGuard(conn net.Conn, c Config) *guard {
	return &guard{Conn: conn, in: bufio.NewReaderSize(conn, 32<<10), accept: c.Accept, calls: c.Calls, files: c.Files, timeout: c.Timeout}
}

// Write ends in time even if the bus reads nothing. An error closes the connection: a
// message that was written in part makes it useless.
func (g *guard) Write(p []byte) (int, error) {
	if err := g.SetWriteDeadline(time.Now().Add(g.timeout)); err != nil {
		return 0, err
	}
	n, err := g.write(p)
	if err != nil {
		_ = g.Close()
	}
	return n, err
}

func (g *guard) write(p []byte) (int, error) {
	if g.framed {
		return g.send(p)
	}
	// BEGIN ends the authentication. The goroutine that writes it starts the reader.
	if string(p) == "BEGIN\r\n" {
		if err := g.negotiate(); err != nil {
			return 0, err
		}
		g.framed = true
	}
	return g.Conn.Write(p)
}

// Read implements io.Reader.
func (g *guard) Read(p []byte) (int, error) {
	if !g.framed || len(p) == 0 {
		return g.in.Read(p)
	}
	for len(g.header) == 0 && g.body == 0 {
		if err := g.next(); err != nil {
			return 0, err
		}
	}
	if len(g.header) > 0 {
		n := copy(p, g.header)
		g.header = g.header[n:]
		return n, nil
	}
	n, err := g.in.Read(p[:min(int64(len(p)), g.body)])
	g.body -= int64(n)
	return n, err
}

// next reads the header of the next message and decides about it.
func (g *guard) next() error {
	fixed := make([]byte, 16, 512)
	if _, err := io.ReadFull(g.in, fixed); err != nil {
		return err
	}
	order, ok := byteOrder(fixed[0])
	if !ok {
		return errByteOrder
	}
	body := int64(order.Uint32(fixed[4:]))
	length := int64(order.Uint32(fixed[12:]))
	padded := (length + 7) &^ 7
	if length > maxHeader || body > maxBody {
		return g.skip(padded + body)
	}
	header := append(fixed, make([]byte, padded)...)
	if _, err := io.ReadFull(g.in, header[16:]); err != nil {
		return err
	}
	h := Header{
		Type:   dbus.Type(fixed[1]),
		Flags:  dbus.Flags(fixed[2]),
		Serial: order.Uint32(fixed[8:]),
		Sender: senderOf(header[16:16+length], order),
		Body:   body,
	}
	switch {
	case !g.accept(h):
		return g.skip(body)
	case h.Type == dbus.TypeMethodCall:
		return g.deliver(h, header)
	}
	g.header, g.body = header, body
	return nil
}

// deliver reads the body of a call and passes the whole message to calls.
func (g *guard) deliver(h Header, header []byte) error {
	message := append(header, make([]byte, h.Body)...)
	if _, err := io.ReadFull(g.in, message[len(header):]); err != nil {
		return err
	}
	g.calls(h, message)
	return nil
}

func (g *guard) skip(n int64) error {
	_, err := io.CopyN(io.Discard, g.in, n)
	return err
}
