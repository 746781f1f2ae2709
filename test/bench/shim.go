package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/vishvananda/netns"

	"tripleo.io/sidecar/interfaces"
)

const (
	shimPath    = "/usr/libexec/sidecar/sidecar-shim"
	wrapperPath = "/run/bench/wrapper"
	linkPath    = "/run/bench/dnsmasq"
	spoolPath   = "/var/lib/sidecar/spool/bench"
	noSocket    = "/run/bench/none"
)

//go:embed wrapper
var wrapperText []byte

// benchShim compares a launch through the shim with the same launch through an
// open client, with a wrapper script of today, and with one through the spool.
func (b *bench) benchShim(ctx context.Context) error {
	if err := setUpShim(ctx); err != nil {
		return err
	}
	n, err := newNetwork(ctx, "shim")
	if err != nil {
		return err
	}
	times, err := paired(b.rounds,
		func() (time.Duration, error) { return b.shimOnce(ctx, n) },
		func() (time.Duration, error) { return b.launchOnce(ctx, n, profile) },
		func() (time.Duration, error) { return wrapperOnce(ctx, n) },
		func() (time.Duration, error) { return b.spoolOnce(ctx, n) },
	)
	if err != nil {
		return err
	}
	own := median(differences(times[0], times[1]))
	report("shim_ms", milliseconds(median(times[0])), "ms")
	report("shim_own_ms", milliseconds(own), "ms")
	report("wrapper_ms", milliseconds(median(times[2])), "ms")
	report("shim_vs_wrapper_ratio", ratio(times[0], times[2]), "ratio")
	report("spool_ms", milliseconds(median(times[3])), "ms")
	if b.runtime {
		if err := overridden(ctx, func() error { return b.benchRuntimeShim(ctx, n) }); err != nil {
			return err
		}
	}
	return b.benchShimRefused(ctx, n)
}

// benchRuntimeShim compares the shim with the wrapper while the shim's profile has the
// runtime engine.
func (b *bench) benchRuntimeShim(ctx context.Context, n network) error {
	times, err := paired(b.rounds,
		func() (time.Duration, error) { return b.shimOnce(ctx, n) },
		func() (time.Duration, error) { return wrapperOnce(ctx, n) },
	)
	if err != nil {
		return err
	}
	report("runtime_shim_ms", milliseconds(median(times[0])), "ms")
	report("runtime_shim_vs_wrapper_ratio", ratio(times[0], times[1]), "ratio")
	return nil
}

// benchShimRefused measures the shim's own time without the noise of a container:
// the service refuses the launch at once.
func (b *bench) benchShimRefused(ctx context.Context, n network) error {
	p := n.launch(profile)
	p.Arguments = append(p.Arguments, "--dhcp-script=/bin/sh")
	times, err := paired(5*b.rounds,
		func() (time.Duration, error) {
			begin := time.Now()
			err := n.inside(exec.CommandContext(ctx, linkPath, p.Arguments...), "SIDECAR_ADDRESS="+agentSocket)
			took := time.Since(begin)
			var exit *exec.ExitError
			if !errors.As(err, &exit) {
				return 0, fmt.Errorf("the shim's refused launch: %v", err)
			}
			return took, nil
		},
		func() (time.Duration, error) {
			begin := time.Now()
			_, err := b.agent.Launch(ctx, p)
			took := time.Since(begin)
			if !errors.Is(err, interfaces.ErrArgumentNotAllowed) {
				return 0, fmt.Errorf("the client's refused launch: %v", err)
			}
			return took, nil
		},
	)
	if err != nil {
		return err
	}
	report("shim_refused_own_ms", milliseconds(median(differences(times[0], times[1]))), "ms")
	return nil
}

// setUpShim links the shim as dnsmasq, writes the wrapper and starts the spool.
func setUpShim(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(linkPath), 0o755); err != nil {
		return err
	}
	if err := os.Symlink(shimPath, linkPath); err != nil {
		return err
	}
	if err := os.WriteFile(wrapperPath, wrapperText, 0o755); err != nil {
		return err
	}
	_, err := output(ctx, "systemctl", "start", "sidecar-spool@bench.path")
	return err
}

func (b *bench) shimOnce(ctx context.Context, n network) (time.Duration, error) {
	return b.throughShim(ctx, n, "SIDECAR_ADDRESS="+agentSocket)
}

func (b *bench) spoolOnce(ctx context.Context, n network) (time.Duration, error) {
	return b.throughShim(ctx, n, "SIDECAR_ADDRESS="+noSocket, "SIDECAR_SPOOL="+spoolPath)
}

// throughShim launches through the shim, which names nothing but the arguments,
// and stops what was launched.
func (b *bench) throughShim(ctx context.Context, n network, environment ...string) (time.Duration, error) {
	begin := time.Now()
	err := n.inside(exec.CommandContext(ctx, linkPath, n.launch(profile).Arguments...), environment...)
	took := time.Since(begin)
	if err != nil {
		return 0, err
	}
	netns := n.netns()
	all, err := b.agent.List(ctx, interfaces.ListParameters{NetworkNamespace: &netns})
	if err != nil {
		return 0, err
	}
	if len(all) != 1 {
		return 0, fmt.Errorf("%d sidecars in %s after the shim returned, want 1", len(all), netns)
	}
	_, err = b.agent.Stop(ctx, interfaces.StopParameters{ID: all[0].ID})
	return took, err
}

// wrapperOnce measures what Neutron waits for: that the wrapper returns and that the
// pid file is there, whichever comes last.
func wrapperOnce(ctx context.Context, n network) (time.Duration, error) {
	begin := time.Now()
	_, err := untilPIDs(ctx, []network{n}, func() error {
		return n.inside(exec.CommandContext(ctx, wrapperPath, n.launch(profile).Arguments...))
	})
	took := time.Since(begin)
	if err != nil {
		return 0, err
	}
	return took, removeContainers(ctx, "neutron-dnsmasq-"+n.netns())
}

// inside runs a command in the network's namespace. The thread that forks is in
// the namespace, so the time has no "ip netns exec" in it.
func (n network) inside(cmd *exec.Cmd, environment ...string) error {
	cmd.Env = append(os.Environ(), environment...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	started := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		ns, err := netns.GetFromName(n.netns())
		if err == nil {
			defer ns.Close()
			err = netns.Set(ns)
		}
		if err == nil {
			err = cmd.Start()
		}
		started <- err
	}()
	if err := <-started; err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w: %s", cmd.Path, err, stderr.String())
	}
	return nil
}
