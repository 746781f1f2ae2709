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

// into decodes a reply's parameters and hands them on. Unknown fields are let
// pass: a newer service may answer more.
func into[T any](take func(T)) func(json.RawMessage) error {
	return func(raw json.RawMessage) error {
		var t T
		if len(raw) > 0 {
			if err := json.Unmarshal(raw, &t); err != nil {
				return fmt.Errorf("%w: parameters: %v", ErrProtocol, err)
			}
		}
		take(t)
		return nil
	}
}

// call makes one call over a connection of its own and hands the parameters of
// each reply to take.
func (c *Client) call(ctx context.Context, r request, take func(json.RawMessage) error) error {
	frame, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := c.enter(ctx); err != nil {
		return err
	}
	defer func() { <-c.slots }()
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	// The context's end, for whatever reason, makes reads and writes return.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	err = translate(ctx, exchange(conn, append(frame, 0), r.More, take))
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
func exchange(conn net.Conn, frame []byte, more bool, take func(json.RawMessage) error) error {
	// A service that refuses a call may answer and hang up before it has read all
	// of it. So a failed write is told only if there is no answer either.
	_, writeErr := conn.Write(frame)
	in := bufio.NewReader(conn)
	for {
		r, err := readReply(in)
		switch {
		case err != nil && writeErr != nil:
			return writeErr
		case err != nil:
			return err
		case r.Error != "":
			return replyError(r)
		case r.Continues && !more:
			return fmt.Errorf("%w: more replies than were asked for", ErrProtocol)
		}
		if err := take(r.Parameters); err != nil || !r.Continues {
			return err
		}
	}
}
