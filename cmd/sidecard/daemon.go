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

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/gofrs/flock"

	"tripleo.io/sidecar/dbusserver"
	"tripleo.io/sidecar/internal/sdnotify"
	"tripleo.io/sidecar/polkit"
	"tripleo.io/sidecar/service"
	"tripleo.io/sidecar/service/imagestore"
	"tripleo.io/sidecar/service/journal"
	"tripleo.io/sidecar/service/lsm"
	"tripleo.io/sidecar/service/metrics"
	"tripleo.io/sidecar/service/ociruntime"
	"tripleo.io/sidecar/service/policy"
	"tripleo.io/sidecar/service/records"
	"tripleo.io/sidecar/service/systemd"
	"tripleo.io/sidecar/service/varlink"
)

const (
	// connectTimeout bounds the wait for the bus, which is tried every connectPause.
	connectTimeout = 30 * time.Second
	connectPause   = 250 * time.Millisecond
	// jobTimeout is the last bound on waiting for a job, longer than the core's own
	// deadlines.
	jobTimeout = 30 * time.Minute
	// busTimeout bounds the wait for a place on the bus before the daemon is ready: callers
	// on the bus wait anyway, agents must not.
	busTimeout = 5 * time.Second
	// notifyTimeout bounds one notification of systemd. The main loop waits for it, and
	// must still come to its watchdog.
	notifyTimeout = 2 * time.Second
	// When the daemon stops, calls may take shutdownTimeout, and launches whose callers
	// have left launchesTimeout after that: together less than TimeoutStopSec= of its unit.
	shutdownTimeout = 10 * time.Second
	launchesTimeout = 10 * time.Second
	// flushTimeout is how long journald may take for the last decisions, and then for the
	// last lines of the log.
	flushTimeout = time.Second
)

// daemon is what is wired together.
type daemon struct {
	options   options
	logger    *slog.Logger
	core      *service.Core
	server    *varlink.Server
	listeners *listeners
	metrics   *metrics.Metrics // nil: off
	verdict   verdict          // of the reloads, for sidecard -reload
	failed    bool             // the last reload
	agents    int              // of the policy in force
	profiles  int
}

// run serves until ctx ends. linesLost counts lines of the log that are lost.
func run(ctx context.Context, o options, logger *slog.Logger, linesLost func() uint64) error {
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
	return wire(ctx, o, logger, set, units, linesLost)
}

// wire makes the core, its collaborators and its transports, and serves until ctx ends.
func wire(ctx context.Context, o options, logger *slog.Logger, set *policy.Set, units *systemd.Conn, linesLost func() uint64) error {
	authority := polkit.New(polkit.Config{})
	defer authority.Close()

	decisions := journal.New(logger)
	defer decisions.Flush(flushTimeout)

	boot, err := service.HostBootID()
	if err != nil {
		return err
	}
	d := &daemon{options: o, logger: logger, agents: len(set.Agents()), profiles: len(set.Profiles())}
	if o.metricsSocket != "" || o.metricsTextfile != "" {
		d.metrics = metrics.New(version, set)
	}
	d.core = service.New(service.Config{
		Authority:   authority,
		Units:       units,
		Namespaces:  service.NewHostNamespaces(),
		Journal:     d.metrics.Journal(decisions),
		Signaller:   service.PIDFDSignaller{},
		Launcher:    o.launcher,
		Podman:      o.podman,
		Runtime:     ociruntime.Find,
		Images:      imagestore.NewCache(imagestore.Host()).IDs,
		Seccomp:     o.seccomp,
		Syslog:      "/run/systemd/journal/dev-log", // systemd-journald-dev-log.socket
		Confinement: lsm.Host,
		Frozen:      new(service.Freezer).Frozen,
		Records:     records.New(o.stateDirectory),
		BootID:      boot,
		DropIns:     "/run/systemd/system.control",
		Restarted:   d.metrics.Restarted(),
		Starts:      o.starts,
		KeepFailed:  o.keepFailed,
		Logger:      logger,
	}, set)
	d.core.LoadRecords()
	d.server, err = varlink.NewServer(varlink.Config{
		Vendor:    "TripleO",
		Product:   "sidecar",
		Version:   version,
		URL:       "https://tripleo.io/sidecar",
		Interface: varlink.Sidecars(d.core),
		Rejected:  d.metrics.Rejected("varlink"),
		Logger:    logger,
	})
	if err != nil {
		return err
	}
	d.metrics.Watch(metrics.Sources{Census: d.core.Census, EntriesLost: decisions.Lost, LogLinesLost: linesLost})
	d.showMetrics(ctx)
	go d.core.Observe(ctx)
	go d.core.Tidy(ctx)
	go d.core.LimitAgents(ctx)
	go d.core.PrepareImages(ctx)
	go d.core.Restore(ctx)
	return d.serve(ctx, set)
}

// checkSeccomp warns of a filter that does not exist. It may still be installed: podman
// reads it at each launch, and starts nothing without it.
func checkSeccomp(path string, logger *slog.Logger) {
	if _, err := os.Stat(path); err != nil {
		logger.Warn("the seccomp filter of sidecars is missing: launches will fail", "error", err)
	}
}

// connect waits for the bus, which may be restarting at the same time.
func connect(ctx context.Context, logger *slog.Logger) (*systemd.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	documents := &service.Documents{}
	for {
		units, err := systemd.Dial(ctx, systemd.Config{JobTimeout: jobTimeout, Digest: documents.Digest, Logger: logger})
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
	busEnded := d.serveBus(ctx)
	if err := forgetVerdict(d.options.runtimeDirectory); err != nil {
		d.logger.Error("sidecard -reload may return a result of the daemon before", "error", err)
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
		case err := <-busEnded:
			return errors.Join(err, d.shutdown(nil))
		case <-ctx.Done():
			return d.shutdown(busEnded)
		}
	}
}

// serveBus serves the core on the bus until ctx ends, and then sends on the channel. An
// error means that the daemon must end.
func (d *daemon) serveBus(ctx context.Context) <-chan error {
	twin := dbusserver.New(dbusserver.Config{
		Core:      d.core,
		Subscribe: func() dbusserver.Events { return d.core.Events() },
		Logger:    d.logger,
		Version:   version,
		Rejected:  d.metrics.Rejected("dbus"),
	})
	ended := make(chan error, 1)
	go func() { ended <- twin.Run(ctx) }()
	select {
	case <-twin.Ready():
	case <-ctx.Done():
	case <-time.After(busTimeout):
	}
	return ended
}

// shutdown lets calls end, and then launches whose callers have left: a sidecar that is
// being replaced is not left stopped. It waits for busEnded, unless that is nil.
func (d *daemon) shutdown(busEnded <-chan error) error {
	d.notify("STOPPING=1")
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	err := d.server.Shutdown(ctx)
	if busEnded != nil { // it has a time-out of its own
		err = errors.Join(err, <-busEnded)
	}
	waiting, cancel := context.WithTimeout(context.Background(), launchesTimeout)
	defer cancel()
	err = errors.Join(err, d.core.Wait(waiting))
	if errors.Is(err, context.DeadlineExceeded) {
		d.logger.Warn("some calls were cut off; jobs that systemd has accepted go on")
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

// singleInstance takes the lock that a second daemon would need. The kernel drops it when
// the process ends.
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

// notify tells systemd the daemon's state (sd_notify(3)), if systemd has started it.
func (d *daemon) notify(state string) {
	if err := sdnotify.Send(os.Getenv("NOTIFY_SOCKET"), state, notifyTimeout); err != nil {
		d.logger.Warn("sd_notify", "error", err)
	}
}

// status is what systemctl status shows.
func (d *daemon) status() string {
	text := fmt.Sprintf("%d agents, %d profiles", d.agents, d.profiles)
	if d.failed {
		text += "; the last reload failed: see the log"
	}
	return text
}

// watchdogTicks ticks twice within the watchdog's time (sd_watchdog_enabled(3)), or never
// if the unit has no watchdog.
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
