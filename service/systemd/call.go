package systemd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/godbus/dbus/v5"
)

// Pauses between attempts at a call that may be repeated.
const (
	minRetry = 10 * time.Millisecond
	maxRetry = 500 * time.Millisecond
)

// call makes one method call to systemd and returns the body of its reply. It
// waits for a free slot, for the bus and for the reply, all within CallTimeout.
func (c *Conn) call(ctx context.Context, path dbus.ObjectPath, method string, args ...any) ([]any, error) {
	limited, cancel := context.WithTimeout(ctx, c.config.CallTimeout)
	defer cancel()
	select {
	case c.slots <- struct{}{}:
	case <-limited.Done():
		return nil, notSent(ctx, method, "too many calls in flight")
	}
	l, err := c.current(limited)
	if err == nil && limited.Err() == nil {
		return c.send(ctx, limited, l, path, method, args)
	}
	<-c.slots
	if errors.Is(err, ErrClosed) {
		return nil, fmt.Errorf("%s: %w", method, ErrClosed)
	}
	return nil, notSent(ctx, method, "the bus is away")
}

// send sends a call and waits for its reply, or for limited, the caller's ctx with
// our own time limit. It holds a slot, and gives it back only with the reply, even
// if nobody waits for that any more: the bus counts a call until it is answered,
// and refuses all calls of a connection that has too many (128 on the system bus,
// max_replies_per_connection of dbus-daemon(1)).
func (c *Conn) send(ctx, limited context.Context, l *link, path dbus.ObjectPath, method string, args []any) ([]any, error) {
	answered := make(chan *dbus.Call, 1)
	sent := false
	defer func() {
		if !sent { // a panic of godbus, about args
			<-c.slots
		}
	}()
	l.bus.Object(destination, path).Go(method, dbus.FlagNoAutoStart, answered, args...)
	sent = true
	select {
	case reply := <-answered:
		<-c.slots
		return reply.Body, translate(ctx, method, reply.Err)
	case <-limited.Done():
	}
	go func() {
		select {
		case <-answered:
		case <-l.bus.Context().Done():
		}
		<-c.slots
	}()
	return nil, translate(ctx, method, limited.Err())
}

func notSent(ctx context.Context, method, why string) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", method, ctx.Err())
	}
	return fmt.Errorf("%s: %w: %s", method, errNotSent, why)
}

// retry makes a call that may be made twice, until it is answered or CallTimeout
// has passed: the bus may restart meanwhile, or systemd execute itself anew.
func (c *Conn) retry(ctx context.Context, path dbus.ObjectPath, method string, args ...any) ([]any, error) {
	limited, cancel := context.WithTimeout(ctx, c.config.CallTimeout)
	defer cancel()
	for wait := minRetry; ; wait = min(2*wait, maxRetry) {
		body, err := c.call(limited, path, method, args...)
		if !errors.Is(err, ErrDisconnected) || pause(limited, wait) != nil {
			return body, c.outOfTime(ctx, limited, method, err)
		}
	}
}

// outOfTime tells the caller's deadline from ours.
func (c *Conn) outOfTime(ctx, limited context.Context, method string, err error) error {
	if err == nil || limited.Err() == nil || ctx.Err() != nil || errors.Is(err, ErrDisconnected) {
		return err
	}
	return fmt.Errorf("%s: %w within %s", method, ErrDisconnected, c.config.CallTimeout)
}

// Version is the number of systemd's version, 257 for "257.9-1". It is asked for
// once for each connection, and again when systemd has executed itself anew.
func (c *Conn) Version(ctx context.Context) (int, error) {
	if l, err := c.current(ctx); err == nil {
		if version := l.knownVersion(); version != 0 {
			return version, nil
		}
	}
	body, err := c.retry(ctx, managerPath, "org.freedesktop.DBus.Properties.Get",
		"org.freedesktop.systemd1.Manager", "Version")
	if err != nil {
		return 0, err
	}
	var text string
	if err := dbus.Store(body, &text); err != nil {
		return 0, fmt.Errorf("read systemd's version: %w", err)
	}
	version, err := parseVersion(text)
	if l, linkErr := c.current(ctx); err == nil && linkErr == nil {
		l.setVersion(version)
	}
	return version, err
}

// parseVersion reads "252.39-1~deb12u2", "v258-rc1" and the like.
func parseVersion(text string) (int, error) {
	digits := text
	if digits != "" && digits[0] == 'v' {
		digits = digits[1:]
	}
	end := 0
	for end < len(digits) && isDigit(digits[end]) {
		end++
	}
	version, err := strconv.Atoi(digits[:end])
	if err != nil {
		return 0, fmt.Errorf("systemd calls its version %q", text)
	}
	return version, nil
}

func (l *link) knownVersion() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.version
}

func (l *link) setVersion(version int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.version = version
}
