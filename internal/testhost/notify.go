package testhost

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// readiness is what nspawn says over its NOTIFY_SOCKET (sd_notify(3)).
type readiness struct {
	leader int  // process id of the host's init on the machine
	ready  bool // the host's init has finished booting
}

// update takes over what one message says.
func (r *readiness) update(message string) {
	for line := range strings.Lines(message) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "X_NSPAWN_LEADER_PID":
			r.leader, _ = strconv.Atoi(value)
		case "READY":
			r.ready = value == "1"
		}
	}
}

// listenNotify opens the socket that nspawn reports to.
func listenNotify(path string) (*net.UnixConn, error) {
	return net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
}

// awaitReady reads messages until the host is ready, and returns its leader.
// It gives up when ctx ends or done is closed.
func awaitReady(ctx context.Context, conn *net.UnixConn, done <-chan struct{}) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-ctx.Done():
		case <-done:
		}
		_ = conn.SetReadDeadline(time.Unix(1, 0)) // ends the read below
	}()
	var state readiness
	buffer := make([]byte, 4096)
	for !state.ready || state.leader == 0 {
		count, err := conn.Read(buffer)
		if err != nil {
			return state.leader, whyNotReady(ctx, done)
		}
		state.update(string(buffer[:count]))
	}
	return state.leader, nil
}

// whyNotReady says why waiting for a host ended.
func whyNotReady(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return errors.New("the host ended while booting")
	default:
		return fmt.Errorf("the host did not boot: %w", context.Cause(ctx))
	}
}
