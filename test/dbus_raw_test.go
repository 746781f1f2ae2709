//go:build testhost

package test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/bus"
)

// rawBus is a connection to the bus that sends what it is told, also what no client
// would send, and reads only when it is told.
type rawBus struct {
	conn   *net.UnixConn
	in     *bufio.Reader
	serial uint32
}

// dialRaw connects, so that files can be sent, and greets the bus.
func dialRaw() (*rawBus, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: "/run/dbus/system_bus_socket", Net: "unix"})
	if err != nil {
		return nil, err
	}
	r := &rawBus{conn: conn, in: bufio.NewReader(conn)}
	for _, line := range []string{
		fmt.Sprintf("\x00AUTH EXTERNAL %x\r\n", fmt.Sprint(os.Getuid())), "NEGOTIATE_UNIX_FD\r\n",
	} {
		_, err = conn.Write([]byte(line))
		if err == nil {
			_, err = r.in.ReadSlice('\n')
		}
		if err != nil {
			return nil, err
		}
	}
	_, err = conn.Write([]byte("BEGIN\r\n"))
	if err == nil {
		_, err = r.call(callOf(bus.Name, string(bus.Path), bus.Name, "Hello"))
	}
	return r, err
}

// callOf is a call.
func callOf(to, path, iface, member string, body ...any) *dbus.Message {
	m := &dbus.Message{Type: dbus.TypeMethodCall, Body: body, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldDestination: dbus.MakeVariant(to),
		dbus.FieldPath:        dbus.MakeVariant(dbus.ObjectPath(path)),
		dbus.FieldInterface:   dbus.MakeVariant(iface),
		dbus.FieldMember:      dbus.MakeVariant(member),
	}}
	if len(body) > 0 {
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(body...))
	}
	return m
}

// pingOf is a call that everybody may make, of any object.
func pingOf(path string) *dbus.Message {
	return callOf(interfaces.BusName, path, "org.freedesktop.DBus.Peer", "Ping")
}

// encode writes a message with the next serial number.
func (r *rawBus) encode(m *dbus.Message, order binary.ByteOrder) ([]byte, error) {
	var b bytes.Buffer
	if err := m.EncodeTo(&b, order); err != nil {
		return nil, err
	}
	r.serial++
	order.PutUint32(b.Bytes()[8:], r.serial)
	return b.Bytes(), nil
}

// send sends a message.
func (r *rawBus) send(m *dbus.Message) error {
	frame, err := r.encode(m, binary.LittleEndian)
	if err == nil {
		_, err = r.conn.Write(frame)
	}
	return err
}

// sendFile sends a message with a file.
func (r *rawBus) sendFile(m *dbus.Message, fd int) error {
	m.Headers[dbus.FieldUnixFDs] = dbus.MakeVariant(uint32(1))
	frame, err := r.encode(m, binary.LittleEndian)
	if err == nil {
		_, _, err = r.conn.WriteMsgUnix(frame, unix.UnixRights(fd), nil)
	}
	return err
}

// answer reads until the answer to the last message is there.
func (r *rawBus) answer() (*dbus.Message, error) {
	if err := r.conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return nil, err
	}
	for {
		m, err := dbus.DecodeMessage(r.in)
		if err != nil {
			return nil, err
		}
		if serial, _ := m.Headers[dbus.FieldReplySerial].Value().(uint32); serial == r.serial {
			return m, nil
		}
	}
}

func (r *rawBus) call(m *dbus.Message) (*dbus.Message, error) {
	if err := r.send(m); err != nil {
		return nil, err
	}
	return r.answer()
}

// failureOf is the error that an answer is, "" if it is none.
func failureOf(m *dbus.Message) string {
	name, _ := m.Headers[dbus.FieldErrorName].Value().(string)
	return name
}

// oddities are messages that are well-formed and that no client sends. Each is sent
// on a connection of its own; the bus may hang up, and the answer counts if there is
// one.
func oddities(paths []string) map[string]func(r *rawBus) error {
	odd := map[string]func(r *rawBus) error{
		"big-endian": func(r *rawBus) error {
			frame, err := r.encode(callOf(interfaces.BusName, interfaces.ManagerPath, interfaces.ManagerInterface, "List",
				map[string]dbus.Variant{"agent": dbus.MakeVariant("x"), "odd": dbus.MakeVariant([][]string{{"a"}})}), binary.BigEndian)
			if err == nil {
				_, err = r.conn.Write(frame)
			}
			return err
		},
		"unknown fields": func(r *rawBus) error {
			m := pingOf(interfaces.ManagerPath)
			m.Headers[dbus.FieldErrorName] = dbus.MakeVariant("org.example.Field77")
			frame, err := r.encode(m, binary.LittleEndian)
			if err == nil {
				_, err = r.conn.Write(bytes.Replace(frame, []byte("\x04\x01s\x00"), []byte("\x4d\x01s\x00"), 1))
			}
			return err
		},
		"a sender of its own": func(r *rawBus) error {
			m := pingOf(interfaces.ManagerPath)
			m.Headers[dbus.FieldSender] = dbus.MakeVariant(bus.Name)
			return r.send(m)
		},
		"all flags": func(r *rawBus) error {
			frame, err := r.encode(pingOf(interfaces.ManagerPath), binary.LittleEndian)
			if err != nil {
				return err
			}
			frame[2] = 0xfe // but for NO_REPLY_EXPECTED
			_, err = r.conn.Write(frame)
			return err
		},
		"a type that is unknown": func(r *rawBus) error {
			frame, err := r.encode(pingOf(interfaces.ManagerPath), binary.LittleEndian)
			if err != nil {
				return err
			}
			frame[1] = 5
			_, err = r.conn.Write(frame)
			return err
		},
		"a reply nobody waits for": func(r *rawBus) error {
			m := pingOf(interfaces.ManagerPath)
			m.Type = dbus.TypeMethodReply
			m.Headers[dbus.FieldReplySerial] = dbus.MakeVariant(uint32(1))
			return r.send(m)
		},
		"a file":  func(r *rawBus) error { return r.sendFile(pingOf(interfaces.ManagerPath), 0) },
		"32 MiB":  func(r *rawBus) error { return r.send(hugeOf(31 << 20)) },
		"300 KiB": func(r *rawBus) error { return r.send(hugeOf(300 << 10)) },
		"no argument": func(r *rawBus) error {
			return r.send(callOf(interfaces.BusName, interfaces.ManagerPath, interfaces.ManagerInterface, "Launch"))
		},
	}
	for _, path := range paths {
		odd[fmt.Sprintf("path %.50s", path)] = func(r *rawBus) error { return r.send(pingOf(path)) }
	}
	return odd
}

func hugeOf(size int) *dbus.Message {
	return callOf(interfaces.BusName, interfaces.ManagerPath, interfaces.ManagerInterface, "List",
		map[string]dbus.Variant{"agent": dbus.MakeVariant(make([]byte, size))})
}

// beOdd sends all of them and counts the answers by the name of the error.
func beOdd(paths []string) (map[string]int, error) {
	answers := map[string]int{}
	for name, send := range oddities(paths) {
		r, err := dialRaw()
		if err != nil {
			return nil, err
		}
		if err := send(r); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		_ = r.conn.SetReadDeadline(time.Now().Add(2 * time.Second))
		m, err := dbus.DecodeMessage(r.in)
		for err == nil && m.Type == dbus.TypeSignal {
			m, err = dbus.DecodeMessage(r.in)
		}
		if err == nil {
			answers[name+": "+failureOf(m)]++
		} else {
			answers[name+": none"]++
		}
		_ = r.conn.Close()
	}
	return answers, nil
}
