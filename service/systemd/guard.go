package systemd

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"
)

// Limits of what is read from the bus. The bus itself allows 32 MiB a message. A
// list of ten thousand units takes about 3 MiB.
const (
	maxHeader = 64 << 10
	maxBody   = 16 << 20
)

// Message types and the header field SENDER, from the D-Bus specification.
const (
	typeReply   = 2
	typeError   = 3
	typeSignal  = 4
	fieldSender = 7
)

var errByteOrder = errors.New("bus sent a message of unknown byte order")

// guard is the socket of a bus connection. It lets through replies and trusted
// signals, and skips everything else before anybody decodes it: any user of the
// bus may send signals straight to any connection, of 32 MiB each, and godbus
// needs many times the memory of some of them. Method calls are skipped as well,
// for nothing is served here. It reads plain bytes, so file descriptors that are
// sent along are dropped by the kernel.
//
// Read is for one goroutine, as is Write.
type guard struct {
	net.Conn
	in      *bufio.Reader
	trusts  func(sender string) bool
	timeout time.Duration // of one write
	framed  bool          // authentication is over
	header  []byte        // of the message at hand, what is not yet read of it
	body    int64         // the same of its body
}

func newGuard(conn net.Conn, timeout time.Duration, trusts func(string) bool) *guard {
	return &guard{Conn: conn, in: bufio.NewReaderSize(conn, 32<<10), trusts: trusts, timeout: timeout}
}

// Write ends in time even if the bus reads nothing. A message that was written in
// part makes the connection useless, so that closes it.
func (g *guard) Write(p []byte) (int, error) {
	if err := g.SetWriteDeadline(time.Now().Add(g.timeout)); err != nil {
		return 0, err
	}
	n, err := g.Conn.Write(p)
	if err != nil {
		_ = g.Close()
	}
	// The client's last word before messages begin; it is written by the
	// goroutine that then starts the reader.
	if string(p) == "BEGIN\r\n" {
		g.framed = true
	}
	return n, err
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
	var order binary.ByteOrder = binary.LittleEndian
	switch fixed[0] {
	case 'l':
	case 'B':
		order = binary.BigEndian
	default:
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
	if !g.wanted(fixed[1], header[16:16+length], order) {
		return g.skip(body)
	}
	g.header, g.body = header, body
	return nil
}

func (g *guard) wanted(kind byte, fields []byte, order binary.ByteOrder) bool {
	switch kind {
	case typeReply, typeError:
		return true // the bus passes on only what answers a call
	case typeSignal:
		sender, ok := senderOf(fields, order)
		return ok && g.trusts(sender)
	}
	return false
}

func (g *guard) skip(n int64) error {
	_, err := io.CopyN(io.Discard, g.in, n)
	return err
}

// senderOf finds the sender in the header fields of a message, an array of
// (byte, variant). The bus sets it; a client cannot. False if there is none or the
// fields are malformed.
func senderOf(fields []byte, order binary.ByteOrder) (sender string, found bool) {
	for pos := 0; pos < len(fields); pos = (pos + 7) &^ 7 {
		// A field is its code and a variant, whose signature is one letter.
		if pos+4 > len(fields) || fields[pos+1] != 1 || fields[pos+3] != 0 {
			return "", false
		}
		text, end, ok := fieldValue(fields, pos+4, fields[pos+2], order)
		if !ok {
			return "", false
		}
		if fields[pos] == fieldSender {
			sender, found = string(text), fields[pos+2] == 's'
		}
		pos = end
	}
	return sender, found
}

// fieldValue reads a value of the type kind at pos: its text, if it has one, and
// where it ends.
func fieldValue(fields []byte, pos int, kind byte, order binary.ByteOrder) (text []byte, end int, ok bool) {
	length := 0
	switch kind {
	case 'g':
		if pos >= len(fields) {
			return nil, 0, false
		}
		length = int(fields[pos])
		pos++
	case 's', 'o', 'u':
		pos = (pos + 3) &^ 3
		if pos+4 > len(fields) {
			return nil, 0, false
		}
		length = int(order.Uint32(fields[pos:]))
		pos += 4
		if kind == 'u' {
			return nil, pos, true
		}
	default:
		return nil, 0, false
	}
	end = pos + length + 1 // a NUL follows
	if length > len(fields) || end > len(fields) {
		return nil, 0, false
	}
	return fields[pos : end-1], end, true
}
