// Command sidecard is the daemon: it listens on the agents' sockets, on the host's socket
// and on the bus, and starts sidecars through systemd. See sidecard(8).
//
// This package only wires the others.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"tripleo.io/sidecar/internal/backlog"
	"tripleo.io/sidecar/internal/paths"
)

// version is stamped by the linker.
var version = "unknown"

// options are the daemon's settings. The policy files say what it allows.
type options struct {
	runtimeDirectory string
	stateDirectory   string
	vendorDirectory  string
	hostDirectory    string
	launcher         string
	podman           string
	seccomp          string
	starts           int
	keepFailed       time.Duration
	metricsSocket    string // "": metrics are not served
	metricsTextfile  string // "": metrics are not written
	metricsInterval  time.Duration
	reload           int // the process ID of the daemon that shall reload, or 0
	version          bool
}

// flagSet returns the flags, which fill in o.
func (o *options) flagSet() *flag.FlagSet {
	flags := flag.NewFlagSet("sidecard", flag.ContinueOnError)
	flags.StringVar(&o.runtimeDirectory, "runtime-directory", "/run/sidecar", "directory of the sockets")
	flags.StringVar(&o.stateDirectory, "state-directory", "/var/lib/sidecar", "directory of the records of sidecars that come back after a boot")
	flags.StringVar(&o.vendorDirectory, "vendor-directory", paths.Vendor, "policy files of the distribution")
	flags.StringVar(&o.hostDirectory, "host-directory", paths.Host, "policy files of this host; they replace files of the same name")
	flags.StringVar(&o.launcher, "launcher", paths.Launcher, "path of sidecar-launch, which runs in every unit")
	flags.StringVar(&o.podman, "podman", "/usr/bin/podman", "path of podman")
	flags.StringVar(&o.seccomp, "seccomp", paths.Seccomp, "path of podman's list of system calls that sidecars may make")
	flags.IntVar(&o.starts, "starts", 4, "how many units are started at once")
	flags.DurationVar(&o.keepFailed, "keep-failed", 24*time.Hour, "how long a failed sidecar is shown before its unit is removed")
	flags.StringVar(&o.metricsSocket, "metrics-socket", "", "serve metrics over HTTP on a unix socket at this path")
	flags.StringVar(&o.metricsTextfile, "metrics-textfile", "", "write metrics to this file, for node_exporter")
	flags.DurationVar(&o.metricsInterval, "metrics-interval", 15*time.Second, "how often -metrics-textfile is written")
	flags.IntVar(&o.reload, "reload", 0, "make the sidecard with this process ID reload its policy files, and wait for the result")
	flags.BoolVar(&o.version, "version", false, "print the version and exit")
	return flags
}

func parseOptions(args []string) (options, error) {
	var o options
	flags := o.flagSet()
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case o.version:
		fmt.Println("sidecard", version)
		return o, flag.ErrHelp
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.reload < 0:
		return o, fmt.Errorf("-reload: %d is not a process ID", o.reload)
	case o.starts < 1 || o.starts > 64:
		return o, fmt.Errorf("-starts: %d is not from 1 to 64", o.starts)
	case o.keepFailed < time.Minute:
		return o, fmt.Errorf("-keep-failed: %v is less than a minute", o.keepFailed)
	}
	return o, o.checkMetrics()
}

func main() {
	o, err := parseOptions(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil && o.reload != 0 {
		if err := requestReload(context.Background(), o.runtimeDirectory, o.reload); err != nil {
			fmt.Fprintln(os.Stderr, "reload failed:", err)
			os.Exit(1)
		}
		return
	}
	// Standard error is a stream to journald, which may not read it for a while.
	log := backlog.NewWriter(os.Stderr)
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{ReplaceAttr: withoutTime}))
	if err == nil {
		signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // journald can go away: a write fails then
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
		defer stop()
		err = run(ctx, o, logger, log.Dropped)
	}
	if err != nil {
		logger.Error("sidecard exits", "error", err)
	}
	log.Flush(flushTimeout)
	if err != nil {
		os.Exit(1)
	}
}

// withoutTime drops the time of a log line: the journal has its own.
func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}
