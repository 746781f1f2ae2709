package main

import (
	"fmt"
	"log/slog"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// notify tells systemd about the daemon's state (sd_notify(3)).
func (d *daemon) notify(state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
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
