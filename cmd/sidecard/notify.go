package main

import (
	"fmt"
	"log/slog"
	"os"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/internal/sdnotify"
)

// notifyTimeout is how long systemd may be too busy to take a notification. The main
// loop waits for it, and must still come to its watchdog.
const notifyTimeout = 2 * time.Second

// notify tells systemd about the daemon's state (sd_notify(3)), if systemd has started
// it.
func (d *daemon) notify(state string) {
	if err := sdnotify.Send(os.Getenv("NOTIFY_SOCKET"), state, notifyTimeout); err != nil {
		d.logger.Warn("sd_notify", "error", err)
	}
}

// monotonicUSec is the time that systemd wants with RELOADING=1.
func monotonicUSec() string {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return ""
	}
	return fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/int64(time.Microsecond))
}

// watchdogTicks says when the watchdog must hear of the daemon: twice within its
// time (sd_watchdog_enabled(3)). Without a watchdog it never does.
func watchdogTicks(logger *slog.Logger) <-chan time.Time {
	interval, err := sd.SdWatchdogEnabled(false)
	if err != nil {
		logger.Warn("watchdog", "error", err)
	}
	if interval <= 0 {
		return nil
	}
	return time.NewTicker(interval / 2).C
}
