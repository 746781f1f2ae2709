package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	jsonv2 "github.com/go-json-experiment/json"

	"tripleo.io/sidecar/interfaces"
)

var (
	// ErrInterrupted means that the service hung up before it answered, as it
	// does when it is restarted. Whether the call was carried out is not known.
	ErrInterrupted = errors.New("the service hung up before it answered")

	// ErrProtocol means that the reply is not an answer of this interface.
	ErrProtocol = errors.New("not an answer of the service")
)

// UnreachableError means that no connection could be made. No call was made.
type UnreachableError struct {
	Address string // in the form unix:/PATH, for a bus unix:path=/PATH; through another host ssh:HOST
	Err     error  // the kernel's, such as ENOENT or ECONNREFUSED
}

func (e *UnreachableError) Unwrap() error { return e.Err }

func (e *UnreachableError) Error() string {
	s := fmt.Sprintf("cannot reach the service at %s: %v", e.Address, e.Err)
	if hint := e.Hint(); hint != "" {
		s += "; " + hint
	}
	return s
}

// Hint says what to do about the error, or "" if that is not known.
func (e *UnreachableError) Hint() string {
	onBus := strings.HasPrefix(e.Address, "unix:path=")
	switch {
	case strings.HasPrefix(e.Address, "ssh:"):
		return "does 'ssh HOST sidecarctl version' work?"
	case onBus && (errors.Is(e.Err, os.ErrNotExist) || errors.Is(e.Err, syscall.ECONNREFUSED)):
		return "there is no bus; the service's socket does not need it"
	case onBus:
		return "is sidecard running, and on the bus? See 'systemctl status sidecard'"
	case errors.Is(e.Err, os.ErrNotExist):
		return "is sidecard running? In a container: is the agent's directory below /run/sidecar/agents mounted as /run/sidecar?"
	case errors.Is(e.Err, syscall.ECONNREFUSED):
		return "nobody listens there: see 'systemctl status sidecard'. In a container: mount the socket's directory, not the socket"
	case errors.Is(e.Err, os.ErrPermission):
		return "this user may not connect there: the host's tools run as root, an agent uses its own socket"
	}
	return ""
}

// UnknownError is an error of the service that package interfaces does not know.
type UnknownError struct {
	Name       string          // full name, such as com.example.Service.Failed
	Parameters json.RawMessage // JSON object, or empty
	Text       string          // for people; only D-Bus has it
}

func (e *UnknownError) Error() string {
	s := fmt.Sprintf("the service answered error %q", e.Name)
	if e.Text != "" {
		s += fmt.Sprintf(": %.500s", e.Text)
	}
	if len(e.Parameters) > 0 {
		s += fmt.Sprintf(" %.500s", e.Parameters)
	}
	return s
}

// replyError returns the error in a frame, or the error of decoding the frame.
func replyError(frame []byte, decoding error) error {
	var r reply[json.RawMessage]
	if err := jsonv2.Unmarshal(frame, &r, lenient); err != nil {
		return fmt.Errorf("%w: %v", ErrProtocol, err)
	}
	if r.Error == "" {
		return fmt.Errorf("%w: parameters: %v", ErrProtocol, decoding)
	}
	if err, known := interfaces.FromVarlink(r.Error, r.Parameters); known {
		return err
	}
	return &UnknownError{Name: r.Error, Parameters: r.Parameters}
}

// translate turns the kernel's errors about a broken exchange into errors of this
// package. Other errors pass.
func translate(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded): // only the end of ctx sets a deadline
		return timedOut(ctx)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return ErrInterrupted
	}
	return err
}

// timedOut says that the call ended because its context did.
func timedOut(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("the call was given up: %w", ctx.Err())
	}
	return fmt.Errorf("no answer from the service in time: %w", ctx.Err())
}
