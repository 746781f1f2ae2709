package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// The framing is done here and not by varlink/go v0.4.0, because its client
// reads replies of any size into memory, drops the errors of decoding them, and
// turns the generic errors into types of its own. It is these few lines.

// request and reply are the messages of https://varlink.org/Method-Call.
type request struct {
	Method     string `json:"method"`
	Parameters any    `json:"parameters,omitempty"`
	More       bool   `json:"more,omitempty"`
}

type reply struct {
	Parameters json.RawMessage `json:"parameters"`
	Continues  bool            `json:"continues"`
	Error      string          `json:"error"`
}

// one makes a call of our interface that has one reply.
func one[T any](ctx context.Context, c *Client, method string, parameters any) (*T, error) {
	var out T
	r := request{Method: interfaces.Name + "." + method, Parameters: parameters}
	if err := c.call(ctx, r, into(func(t T) { out = t })); err != nil {
		return nil, err
	}
	return &out, nil
}

// each makes a call of our interface that can have many replies.
func each[T any](ctx context.Context, c *Client, method string, parameters any, take func(T)) error {
	r := request{Method: interfaces.Name + "." + method, Parameters: parameters, More: true}
	return c.call(ctx, r, into(take))
}

// typed is a reply whose parameters are known: they are decoded in one go with
// the rest, since a List has hundreds of replies.
type typed[T any] struct {
	Parameters T      `json:"parameters"`
	Continues  bool   `json:"continues"`
	Error      string `json:"error"`
}

// decoder takes a reply's frame and says whether more replies follow.
type decoder func(frame []byte) (continues bool, err error)

// into decodes replies and hands their parameters on. Unknown fields are let
// pass: a newer service may answer more.
func into[T any](take func(T)) decoder {
	return func(frame []byte) (bool, error) {
		var r typed[T]
		if err := json.Unmarshal(frame, &r); err != nil || r.Error != "" {
			return false, errorIn(frame, err)
		}
		take(r.Parameters)
		return r.Continues, nil
	}
}

// errorIn returns the error that a frame carries, or the one of decoding it.
func errorIn(frame []byte, decoding error) error {
	r, err := parseReply(frame)
	switch {
	case err != nil:
		return err
	case r.Error != "":
		return replyError(r)
	}
	return fmt.Errorf("%w: parameters: %v", ErrProtocol, decoding)
}

// call makes one call, when it is its turn, and hands each reply to decode.
func (c *Client) call(ctx context.Context, r request, decode decoder) error {
	if err := c.enter(ctx); err != nil {
		return err
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

// enter waits until the call may begin.
func (c *Client) enter(ctx context.Context) error {
	select {
	case c.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return timedOut(ctx)
	}
}

// exchange sends the frame and reads replies until the last one.
func exchange(conn net.Conn, frame []byte, more bool, decode decoder) error {
	// A service that refuses a call may answer and hang up before it has read all
	// of it. So a failed write is told only if there is no answer either.
	_, writeErr := conn.Write(frame)
	in := bufio.NewReader(conn)
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
