package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tripleo.io/sidecar/interfaces"
)

// The framing is done here because the client of varlink/go v0.4.0 reads replies of
// any size into memory, drops the errors of decoding them, and turns the generic
// errors into types of its own.

const (
	// maxReply is the largest reply in bytes, as in systemd (VARLINK_BUFFER_MAX in
	// sd-varlink.c).
	maxReply = 16 << 20
	// maxRequest is the largest call in bytes that the service takes; it hangs up on
	// a larger call (service/varlink's Limits). The limit here only explains that.
	maxRequest = 256 << 10
	// readBuffer is how much is read at once: a List's replies come many together.
	readBuffer = 64 << 10
	// ours begins the names of the service's own methods.
	ours = interfaces.Name + "."
)

// request is a call (https://varlink.org/Method-Call).
type request struct {
	Method     string `json:"method"`
	Parameters any    `json:"parameters,omitempty"`
	More       bool   `json:"more,omitempty"`
}

// reply is a reply. Its parameters are decoded in one go with the rest, since a List
// has hundreds of replies.
type reply[T any] struct {
	Parameters T      `json:"parameters"`
	Continues  bool   `json:"continues"`
	Error      string `json:"error"`
}

// one makes a call that has one reply.
func one[T any](ctx context.Context, c *Client, method string, timeoutUSec *int64, parameters any) (*T, error) {
	var out T
	r := request{Method: method, Parameters: parameters}
	if err := c.call(ctx, timeoutUSec, r, into(func(t T) { out = t })); err != nil {
		return nil, err
	}
	return &out, nil
}

// each makes a call that can have many replies, and returns the item of each.
func each[T, I any](ctx context.Context, c *Client, method string, parameters any, item func(T) I) ([]I, error) {
	all := []I{}
	r := request{Method: method, Parameters: parameters, More: true}
	if err := c.call(ctx, nil, r, into(func(t T) { all = append(all, item(t)) })); err != nil {
		return nil, err
	}
	return all, nil
}

// decoder takes a reply's frame and says whether more replies follow.
type decoder func(frame []byte) (continues bool, err error)

// lenient takes repeated names and invalid UTF-8, as encoding/json does. Decoding is most of the
// time of a List, and encoding/json takes twice as long. It also takes "Error" for "error", which
// varlink does not: every frame is read with lenient only.
var lenient = jsonv2.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// into decodes replies and hands their parameters on. Unknown fields are ignored: a
// newer service may answer more.
func into[T any](take func(T)) decoder {
	return func(frame []byte) (bool, error) {
		var r reply[T]
		if err := jsonv2.Unmarshal(frame, &r, lenient); err != nil || r.Error != "" {
			return false, replyError(frame, err)
		}
		take(r.Parameters)
		return r.Continues, nil
	}
}

// call makes one call within its deadline, when a slot is free.
func (c *Client) call(ctx context.Context, timeoutUSec *int64, r request, decode decoder) error {
	ctx, cancel := WithDeadline(ctx, timeoutUSec)
	defer cancel()
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return timedOut(ctx)
	}
	defer func() { <-c.slots }()
	return c.converse(ctx, r, decode)
}

// converse makes one call over a connection of its own.
func (c *Client) converse(ctx context.Context, r request, decode decoder) error {
	frame, err := json.Marshal(r)
	if err != nil {
		return err
	}
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	// The context's end, for whatever reason, makes reads and writes return.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	err = translate(ctx, exchange(conn, append(frame, 0), r.More, decode))
	if errors.Is(err, ErrInterrupted) && len(frame) > maxRequest {
		return fmt.Errorf("%w: the call has %d bytes, which is more than the service takes (%d)", err, len(frame), maxRequest)
	}
	return err
}

// exchange sends the frame and reads replies until the last one.
func exchange(conn net.Conn, frame []byte, more bool, decode decoder) error {
	// A service that refuses a call may answer and hang up before it has read all of
	// the call. So a failed write is an error only without an answer.
	_, writeErr := conn.Write(frame)
	in := bufio.NewReaderSize(conn, readBuffer)
	for {
		frame, err := readFrame(in, maxReply)
		switch {
		case err != nil && writeErr != nil:
			return writeErr
		case err != nil:
			return err
		}
		continues, err := decode(frame)
		switch {
		case err != nil || !continues:
			return err
		case !more:
			return fmt.Errorf("%w: more replies than were asked for", ErrProtocol)
		}
	}
}

// readFrame reads up to the next NUL and returns the bytes before it. It never holds
// more than limit bytes. io.ErrUnexpectedEOF: the stream ended within a frame.
func readFrame(in *bufio.Reader, limit int) ([]byte, error) {
	var frame []byte
	for {
		part, err := in.ReadSlice(0)
		if err == nil {
			part = part[:len(part)-1]
		}
		if len(frame)+len(part) > limit {
			return nil, fmt.Errorf("%w: a reply of more than %d bytes", ErrProtocol, limit)
		}
		frame = append(frame, part...)
		switch {
		case err == nil:
			return frame, nil
		case errors.Is(err, io.EOF):
			return nil, io.ErrUnexpectedEOF
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}
