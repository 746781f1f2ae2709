package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gofrs/flock"

	"tripleo.io/sidecar/polkit"
	"tripleo.io/sidecar/service"
	"tripleo.io/sidecar/service/journal"
	"tripleo.io/sidecar/service/lsm"
	"tripleo.io/sidecar/service/policy"
	"tripleo.io/sidecar/service/systemd"
	"tripleo.io/sidecar/service/varlink"
)

const (
	// connectTimeout is how long the bus may take to be there, looked for every
	// connectPause.
	connectTimeout = 30 * time.Second
	connectPause   = 250 * time.Millisecond
	// jobTimeout is the last bound on waiting for a job. The core's own
	// deadlines come before it, also for the longest start that it allows.
	jobTimeout = 30 * time.Minute
	// shutdownTimeout is how long calls that are being carried out may take
	// when the daemon stops, and drainTimeout how long launches whose callers
	// have gone may take after that: together less than TimeoutStopSec= of its
	// unit. Sidecars go on in any case.
	shutdownTimeout = 10 * time.Second
	// flushTimeout is how long journald may take for the last decisions, and then
	// for the last lines of the log.
	flushTimeout = time.Second
	drainTimeout = 10 * time.Second
)

// daemon is what is wired together.
type daemon struct {
	options   options
	logger    *slog.Logger
	core      *service.Core
	server    *varlink.Server
	listeners *listeners
	verdict   verdict // of the reloads, as sidecard -reload may read it
	failed    bool    // the last reload
	agents    int     // how many the policy in force has
	profiles  int
}

// run serves until ctx ends.
func run(ctx context.Context, o options, logger *slog.Logger) error {
	unlock, err := singleInstance(o.runtimeDirectory)
	if err != nil {
		return err
	}
	defer unlock()
	set, err := loadPolicy(o, logger)
	if err != nil {
		return fmt.Errorf("policy files (sidecarctl check shows the same):\n%w", err)
	}
	checkSeccomp(o.seccomp, logger)
	checkSeccomp(service.SeccompNetfilter(o.seccomp), logger)
	units, err := connect(ctx, logger)
	if err != nil {
		return fmt.Errorf("connect to systemd: %w", err)
	}
	defer units.Close()
	return wire(ctx, o, logger, set, units)
}

// wire makes the core, with its collaborators and its transports, and serves until ctx
// ends.
func wire(ctx context.Context, o options, logger *slog.Logger, set *policy.Set, units *systemd.Conn) error {
	authority := polkit.New(polkit.Config{})
	defer authority.Close()

	decisions := journal.New(logger)
	defer decisions.Flush(flushTimeout)

	d := &daemon{options: o, logger: logger}
	d.core = service.New(service.Config{
		Authority:   authority,
		Units:       units,
		Namespaces:  service.NewHostNamespaces(),
		Journal:     decisions,
		Signaller:   service.PIDFDSignaller{},
		Launcher:    o.launcher,
		Podman:      o.podman,
		Seccomp:     o.seccomp,
		Syslog:      "/run/systemd/journal/dev-log", // systemd-journald-dev-log.socket
		Confinement: lsm.Host,
		Frozen:      new(service.Freezer).Frozen,
		Starts:      o.starts,
		Logger:      logger,
	}, set)
	var err error
	if d.server, err = newServer(d.core, logger); err != nil {
		return err
	}
	go d.core.Observe(ctx)
	return d.serve(ctx, set)
}

func newServer(core *service.Core, logger *slog.Logger) (*varlink.Server, error) {
	return varlink.NewServer(varlink.Config{
		Vendor:    "TripleO",
		Product:   "sidecar",
		Version:   version,
		URL:       "https://tripleo.io/sidecar",
		Interface: varlink.Sidecars(core),
		Logger:    logger,
	})
}

// checkSeccomp warns of a filter that is not there. podman reads it at each launch,
// so it may still come; until then podman refuses to start anything without it.
func checkSeccomp(path string, logger *slog.Logger) {
	if _, err := os.Stat(path); err != nil {
		logger.Warn("the seccomp filter of sidecars is missing: launches will fail", "error", err)
	}
}

// connect waits for the bus, which may be restarting at the same time.
func connect(ctx context.Context, logger *slog.Logger) (*systemd.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	for {
		units, err := systemd.Dial(ctx, systemd.Config{JobTimeout: jobTimeout, Logger: logger})
		if err == nil {
			return units, nil
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(connectPause):
		}
	}
}

// serve opens the sockets, says that it is ready, and waits for signals.
func (d *daemon) serve(ctx context.Context, set *policy.Set) error {
	var err error
	d.listeners, err = openListeners(d.options.runtimeDirectory, d.server, d.logger)
	if err != nil {
		return err
	}
	if err := d.listeners.set(ctx, set.Agents()); err != nil {
		return err
	}
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	watchdog := watchdogTicks(d.logger)
	twin := d.startTwin(ctx)
	d.agents, d.profiles = len(set.Agents()), len(set.Profiles())
	if err := forgetVerdict(d.options.runtimeDirectory); err != nil {
		d.logger.Error("sidecard -reload may take what the daemon before said for an answer", "error", err)
	}
	d.tell()
	d.notify("READY=1\nSTATUS=" + d.status())
	for {
		select {
		case <-reload:
			d.reload(ctx)
		case f := <-d.listeners.due:
			d.listeners.reopen(ctx, f)
		case <-watchdog:
			d.core.Alive()
			d.notify("WATCHDOG=1")
		case err := <-twin:
			return errors.Join(err, d.shutdown(nil))
		case <-ctx.Done():
			return d.shutdown(twin)
		}
	}
}

// shutdown lets the calls that are being carried out end, and then the launches
// whose callers have gone: a sidecar that is being replaced is not left stopped.
// twin has an element when that has ended; nil: it has.
func (d *daemon) shutdown(twin <-chan error) error {
	d.notify("STOPPING=1")
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	err := d.server.Shutdown(ctx)
	if twin != nil { // it has a time-out of its own
		err = errors.Join(err, <-twin)
	}
	draining, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	err = errors.Join(err, d.core.Drain(draining))
	if errors.Is(err, context.DeadlineExceeded) {
		d.logger.Warn("some calls were cut off; what systemd was told goes on")
		return nil
	}
	return err
}

func loadPolicy(o options, logger *slog.Logger) (*policy.Set, error) {
	set, err := policy.Load(o.vendorDirectory, o.hostDirectory)
	if err != nil {
		return nil, err
	}
	for _, warning := range set.Warnings() {
		logger.Warn("policy", "warning", warning)
	}
	for _, missing := range lsm.Host().Missing() {
		logger.Warn(missing)
	}
	return set, nil
}

// singleInstance takes the lock that a second daemon would need. The kernel
// drops it when the process ends, however it ends.
func singleInstance(directory string) (unlock func(), err error) {
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return nil, err
	}
	lock := flock.New(filepath.Join(directory, "lock"))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, err
	}
	if !locked {
		return nil, fmt.Errorf("another sidecard runs: it holds %s", lock.Path())
	}
	return func() { lock.Close() }, nil
}
