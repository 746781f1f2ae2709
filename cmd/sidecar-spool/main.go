// Sidecar-spool is the host's side of the spools: what an agent asks for by files,
// it asks the agent's own socket for. See sidecar-spool(8).
//
//	sidecar-spool prepare AGENT   makes the agent's spool
//	sidecar-spool drain AGENT     carries out what is in it, and ends
//	sidecar-spool version
//
// This package is wiring only.
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

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/backlog"
	"tripleo.io/sidecar/spool"
)

// version is stamped by the linker.
var version = "unknown"

var errUsage = errors.New("usage: sidecar-spool [OPTION...] prepare AGENT | drain AGENT | version")

// options are the places where things are.
type options struct {
	directory        string
	runtimeDirectory string
	lockDirectory    string
	vendorDirectory  string
	hostDirectory    string
}

func parseOptions(args []string) (options, []string, error) {
	var o options
	flags := flag.NewFlagSet("sidecar-spool", flag.ContinueOnError)
	flags.StringVar(&o.directory, "directory", spool.DefaultDirectory, "where the agents' spools are")
	flags.StringVar(&o.runtimeDirectory, "runtime-directory", "/run/sidecar", "where the service's sockets are")
	flags.StringVar(&o.lockDirectory, "lock-directory", "/run/sidecar-spool", "where the locks of drains are")
	flags.StringVar(&o.vendorDirectory, "vendor-directory", "/usr/share/sidecar", "policy files of the distribution")
	flags.StringVar(&o.hostDirectory, "host-directory", "/etc/sidecar", "policy files of this host, which win by file name")
	err := flags.Parse(args)
	return o, flags.Args(), err
}

func main() {
	// Standard error is a stream to journald, which may not read it for a while.
	log := backlog.NewWriter(os.Stderr)
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{ReplaceAttr: withoutTime}))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err := run(ctx, os.Args[1:], logger)
	failed := err != nil && !errors.Is(err, flag.ErrHelp)
	if failed {
		logger.Error("sidecar-spool ends", "error", err)
	}
	log.Flush(flushTimeout)
	if failed {
		os.Exit(1)
	}
}

// flushTimeout is how long journald may take for the last lines of the log.
const flushTimeout = 2 * time.Second

func run(ctx context.Context, args []string, logger *slog.Logger) error {
	o, words, err := parseOptions(args)
	switch {
	case err != nil:
		return err
	case len(words) == 1 && words[0] == "version":
		fmt.Println("sidecar-spool", version)
		return nil
	case len(words) != 2:
		return errUsage
	case !interfaces.ValidName(words[1]):
		return fmt.Errorf("not an agent's name: %.40q", words[1])
	}
	switch words[0] {
	case "prepare":
		return prepare(o, words[1])
	case "drain":
		err := drainAgent(ctx, o, words[1], logger)
		if err != nil {
			logger.Error("the spool cannot be drained", "agent", words[1], "error", err)
			pause(ctx, errorPause)
		}
		return err
	}
	return errUsage
}

// errorPause is the time between an error and the end. systemd starts a drain again
// at once for as long as there is something in its directory, and an agent may be
// able to spoil its own spool.
const errorPause = 10 * time.Second

func pause(ctx context.Context, length time.Duration) {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// withoutTime drops the time of a log line: the journal has its own.
func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}
