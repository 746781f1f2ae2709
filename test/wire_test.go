//go:build testhost

package test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

// wire is a varlink connection on which frames can be sent as one likes: several
// at once, half ones, wrong ones.
type wire struct {
	conn *net.UnixConn
	in   *bufio.Reader
}

// frame is a reply.
type frame struct {
	Parameters json.RawMessage `json:"parameters"`
	Continues  bool            `json:"continues"`
	Error      string          `json:"error"`
}

// request is a call.
type request struct {
	Method     string `json:"method"`
	Parameters any    `json:"parameters,omitempty"`
	More       bool   `json:"more,omitempty"`
}

// dial connects to a socket. Nothing on the connection takes longer than limit.
func dial(t testing.TB, socket string, limit time.Duration) *wire {
	t.Helper()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	return &wire{conn, bufio.NewReader(conn)}
}

// send sends calls, all in one write.
func (w *wire) send(calls ...request) error {
	var bytes []byte
	for _, call := range calls {
		text, err := json.Marshal(call)
		if err != nil {
			return err
		}
		bytes = append(append(bytes, text...), 0)
	}
	_, err := w.conn.Write(bytes)
	return err
}

// receive reads one reply.
func (w *wire) receive() (frame, error) {
	var f frame
	text, err := w.in.ReadBytes(0)
	if err != nil {
		return f, err
	}
	return f, json.Unmarshal(text[:len(text)-1], &f)
}

// launched reads the answer to a launch.
func (w *wire) launched() (*interfaces.Sidecar, error) {
	f, err := w.receive()
	if err != nil {
		return nil, err
	}
	if f.Error != "" {
		if err, ok := interfaces.FromVarlink(f.Error, f.Parameters); ok {
			return nil, err
		}
		return nil, errors.New(f.Error)
	}
	var reply interfaces.LaunchReply
	if err := json.Unmarshal(f.Parameters, &reply); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Parameters, err)
	}
	return &reply.Sidecar, nil
}

// unread returns how many bytes the other side has not read yet (SIOCOUTQ,
// unix(7)).
func (w *wire) unread(t testing.TB) int {
	t.Helper()
	raw, err := w.conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var n int
	var queueErr error
	if err := raw.Control(func(fd uintptr) { n, queueErr = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }); err != nil || queueErr != nil {
		t.Fatal(err, queueErr)
	}
	return n
}

// launchOf is the call that launches.
func launchOf(p interfaces.LaunchParameters) request {
	return request{Method: interfaces.Name + ".Launch", Parameters: p}
}
