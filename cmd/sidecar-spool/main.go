// Sidecar-spool is the host's side of the spools: it makes the calls of an agent's
// request files over the agent's own socket. See sidecar-spool(8).
//
//	sidecar-spool prepare AGENT   makes the agent's spool
//	sidecar-spool drain AGENT     carries out the requests in it, and exits
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
	"path/filepath"
	"syscall"
	"time"

	"github.com/gofrs/flock"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/backlog"
	"tripleo.io/sidecar/internal/paths"
	"tripleo.io/sidecar/service/policy"
	"tripleo.io/sidecar/spool"
	"tripleo.io/sidecar/spool/server"
)

const (
	// errorPause is the time between an error and the exit. systemd starts the server
	// again at once for as long as its directory is not empty, and an agent may be
	// able to spoil its own spool.
	errorPause = 10 * time.Second
	// flushTimeout is how long journald may take for the last lines of the log.
	flushTimeout = 2 * time.Second
	// lockTimeout is how long to wait for another server of the same spool, which
	// exits by itself. The unit runs only one; a person can start another one.
	lockTimeout = 5 * time.Minute
	lockPause   = 100 * time.Millisecond
)

// version is stamped by the linker.
var version = "unknown"

var errUsage = errors.New("usage: sidecar-spool [OPTION...] prepare AGENT | drain AGENT | version")

// options are the directories of the host.
type options struct {
	directory        string
	runtimeDirectory string
	lockDirectory    string
	vendorDirectory  string
	hostDirectory    string
}

// flagSet returns the flags, which fill in o.
func (o *options) flagSet() *flag.FlagSet {
	flags := flag.NewFlagSet("sidecar-spool", flag.ContinueOnError)
	flags.StringVar(&o.directory, "directory", spool.DefaultDirectory, "where the agents' spools are")
	flags.StringVar(&o.runtimeDirectory, "runtime-directory", "/run/sidecar", "where the service's sockets are")
	flags.StringVar(&o.lockDirectory, "lock-directory", "/run/sidecar-spool", "where the locks of drains are")
	flags.StringVar(&o.vendorDirectory, "vendor-directory", paths.Vendor, "policy files of the distribution")
	flags.StringVar(&o.hostDirectory, "host-directory", paths.Host, "policy files of this host, which win by file name")
	return flags
}

func parseOptions(args []string) (options, []string, error) {
	var o options
	flags := o.flagSet()
	err := flags.Parse(args)
	return o, flags.Args(), err
}

func main() {
	// Standard error is a stream to journald, which may not read it for a while.
	log := backlog.NewWriter(os.Stderr)
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{ReplaceAttr: withoutTime}))
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // journald can go away: a write fails then
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err := run(ctx, os.Args[1:], logger)
	failed := err != nil && !errors.Is(err, flag.ErrHelp)
	if failed {
		logger.Error("sidecar-spool exits", "error", err)
	}
	log.Flush(flushTimeout)
	if failed {
		os.Exit(1)
	}
}

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
		err := drain(ctx, o, words[1], logger)
		if err != nil {
			logger.Error("the requests of the spool cannot be carried out", "agent", words[1], "error", err)
			select {
			case <-time.After(errorPause):
			case <-ctx.Done():
			}
		}
		return err
	}
	return errUsage
}

// prepare makes the spool of an agent whose file names a spool-user.
func prepare(o options, agent string) error {
	set, err := policy.Load(o.vendorDirectory, o.hostDirectory)
	if err != nil {
		return fmt.Errorf("policy files (sidecarctl check shows the same):\n%w", err)
	}
	a, ok := set.Agent(agent)
	switch {
	case !ok:
		return fmt.Errorf("agent %s does not exist: agents.d has no file for it", agent)
	case a.SpoolUser == nil:
		return fmt.Errorf("agent %s has no spool: its file has no spool-user", agent)
	}
	return server.Prepare(o.directory, agent, *a.SpoolUser)
}

// drain carries out the requests in the spool of an agent.
func drain(ctx context.Context, o options, agent string, logger *slog.Logger) error {
	unlock, err := lock(ctx, o.lockDirectory, agent)
	if err != nil {
		return err
	}
	defer unlock()
	return server.Run(ctx, server.Config{
		Directory: filepath.Join(o.directory, agent),
		Service:   server.Socket(filepath.Join(o.runtimeDirectory, "agents", agent)),
		Logger:    logger,
	})
}

// lock waits until no other server of the agent's spool runs. The agent cannot reach
// the file: by locking it, it could stop the server.
func lock(ctx context.Context, directory, agent string) (unlock func(), err error) {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	l := flock.New(filepath.Join(directory, agent+".lock"))
	if _, err := l.TryLockContext(ctx, lockPause); err != nil {
		return nil, fmt.Errorf("another server of this spool holds %s: %w", l.Path(), err)
	}
	return func() { l.Close() }, nil
}

// withoutTime drops the time of a log line: the journal has its own.
func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}
