package testhost

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Host is a running throw-away host. Its methods may be called concurrently.
// It ends with [Host.Close], or with the process that booted it.
type Host struct {
	config   Config
	run      runDir
	cgroup   string // empty when the machine's systemd gives nspawn one
	nspawn   *nspawn
	leader   int // process id of the host's init on the machine
	commands atomic.Int64

	closeOnce sync.Once
	closeErr  error
}

// Prepare makes the tree and the images of a configuration, unless they are
// in the cache. [Boot] does the same; a caller who wants to know when the
// long part is over calls it first.
func Prepare(ctx context.Context, config Config) error {
	c, err := config.validate()
	if err != nil {
		return err
	}
	_, _, err = c.prepare(ctx)
	return err
}

// prepare returns the directories of the tree and of the image storage.
func (c Config) prepare(ctx context.Context) (tree, store string, err error) {
	if err := c.ensure(ctx, outerPrograms); err != nil {
		return "", "", err
	}
	if tree, err = c.tree(ctx); err != nil {
		return "", "", err
	}
	store, err = c.store(ctx, tree)
	return tree, store, err
}

// Boot boots a host and waits until its systemd has started everything. Units
// that failed are reported on the log; they are not an error, since a caller
// may install units that can only work later. ctx bounds the boot, not the
// host's life: the caller must call [Host.Close].
func Boot(ctx context.Context, config Config) (*Host, error) {
	c, err := config.validate()
	if err != nil {
		return nil, err
	}
	tree, store, err := c.prepare(ctx)
	if err != nil {
		return nil, err
	}
	return c.boot(ctx, tree, store)
}

// boot boots a host on a tree with a copy of the store.
func (c Config) boot(ctx context.Context, tree, store string) (*Host, error) {
	start := time.Now()
	run, err := c.newRunDir(ctx)
	if err != nil {
		return nil, err
	}
	host := &Host{config: c, run: run}
	if err := host.start(ctx, tree, store); err != nil {
		if ctx.Err() == nil {
			err = fmt.Errorf("%w\n%s", err, run.consoleTail())
		}
		return nil, errors.Join(err, host.Close())
	}
	if !c.Quiet {
		c.logf("%s (%s) booted in %d ms", run.id(), c.Release, time.Since(start).Milliseconds())
	}
	return host, nil
}

// start brings up a host whose run directory is there.
func (h *Host) start(ctx context.Context, tree, store string) error {
	if err := h.furnish(ctx, tree, store); err != nil {
		return err
	}
	if err := h.spawn(ctx); err != nil {
		return err
	}
	failed, err := h.FailedUnits(ctx)
	if len(failed) > 0 {
		h.config.logf("%s: units failed while booting: %v", h.run.id(), failed)
	}
	return err
}

// furnish makes the root of a host.
func (h *Host) furnish(ctx context.Context, tree, store string) error {
	root := h.run.root()
	if err := mountOverlay(root, tree, h.run.upper(), h.run.work()); err != nil {
		return err
	}
	if err := h.config.dress(root); err != nil {
		return err
	}
	for _, staged := range h.config.Install {
		if err := install(ctx, staged, root); err != nil {
			return err
		}
	}
	if store == "" {
		return nil
	}
	// Nothing may change the cached storage, so each host gets a copy.
	return runOuter(ctx, io.Discard, "cp", "--archive", "--reflink=auto", store+"/.", h.run.containers())
}

// spawn starts nspawn and waits for the host to be ready.
func (h *Host) spawn(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, h.config.BootTimeout)
	defer cancel()
	if !outerSystemd() {
		if h.cgroup, err = makeCgroup(h.run.id()); err != nil {
			return err
		}
	}
	conn, err := listenNotify(h.run.notify())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if h.nspawn, err = startNspawn(h.run, h.cgroup); err != nil {
		return err
	}
	h.leader, err = awaitReady(ctx, conn, h.nspawn.done)
	return err
}

// Exit codes by which a program asks for a boot of its host, after which it is run again.
const (
	ExitReboot    = 98 // the host is shut down in order
	ExitPowerLoss = 99 // nothing is shut down
)

// BootsEnv tells a program how often its host has booted since the program was run first.
const BootsEnv = "SIDECAR_TESTHOST_BOOTS"

// Reboot boots the host again, with the same disk. It shuts it down before, unless the
// power is lost.
func (h *Host) Reboot(ctx context.Context, powerLoss bool) error {
	stopping, cancel := context.WithTimeout(ctx, h.config.StopTimeout)
	if powerLoss {
		cancel()
	}
	err := h.nspawn.stop(stopping, h.leader)
	cancel()
	if err != nil && !powerLoss {
		return err
	}
	if h.cgroup != "" {
		if err := removeCgroup(h.cgroup); err != nil {
			return err
		}
	}
	if err := os.Remove(h.run.notify()); err != nil && !os.IsNotExist(err) {
		return err
	}
	return h.spawn(ctx)
}

// Close shuts the host down and removes all that it left on the machine. It
// may be called more than once, and always tries everything.
func (h *Host) Close() error {
	h.closeOnce.Do(func() { h.closeErr = h.close() })
	return h.closeErr
}

// close does the work of Close, whatever the host got to.
func (h *Host) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), h.config.StopTimeout)
	defer cancel()
	var err error
	if h.nspawn != nil {
		err = h.nspawn.stop(ctx, h.leader)
	}
	if h.cgroup != "" {
		err = errors.Join(err, removeCgroup(h.cgroup))
	}
	return errors.Join(err, h.run.remove())
}
