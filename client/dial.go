package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// DefaultAddress is where the service listens, on the host as well as inside an
// agent's container.
const DefaultAddress = "unix:/run/sidecar/io.tripleo.Sidecar"

const (
	// maxPath is the longest path that fits into sun_path with its final NUL
	// (unix(7)).
	maxPath = 107
	// queueDelay is the time between two tries to connect while the service's queue
	// is full.
	queueDelay = 10 * time.Millisecond
)

// parseAddress returns the path of the socket that the address means.
func parseAddress(address string) (string, error) {
	if address == "" {
		address = DefaultAddress
	}
	path, hasScheme := strings.CutPrefix(address, "unix:")
	why := ""
	switch {
	case hasScheme && strings.HasPrefix(path, "@"):
		why = "abstract sockets have no owner and are not used"
	case !hasScheme && strings.Contains(path, ":") && !filepath.IsAbs(path):
		why = "only unix sockets are known: unix:/PATH or /PATH"
	case !filepath.IsAbs(path):
		why = "the path must be absolute: unix:/PATH or /PATH"
	case strings.ContainsRune(path, 0):
		why = "the path contains a NUL"
	case len(path) > maxPath:
		why = fmt.Sprintf("the path has %d bytes, a socket's path can have %d", len(path), maxPath)
	default:
		return path, nil
	}
	return "", fmt.Errorf("address %.200q: %s", address, why)
}

// dial connects. A blocking connect(2) waits while the listener's queue is full;
// Go's sockets do not block and get EAGAIN, so the wait is done here.
func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	if c.dialer != nil {
		conn, err := c.dialer(ctx)
		if err != nil && ctx.Err() != nil {
			err = timedOut(ctx)
		}
		return conn, err
	}
	var dialer net.Dialer
	for {
		conn, err := dialer.DialContext(ctx, "unix", c.path)
		var op *net.OpError
		switch {
		case err == nil:
			return conn, nil
		case ctx.Err() != nil:
			return nil, timedOut(ctx)
		case errors.Is(err, syscall.EAGAIN):
		case errors.As(err, &op): // which repeats the address
			return nil, &UnreachableError{Address: c.Address(), Err: op.Err}
		default:
			return nil, &UnreachableError{Address: c.Address(), Err: err}
		}
		select {
		case <-ctx.Done():
			return nil, timedOut(ctx)
		case <-time.After(queueDelay):
		}
	}
}
