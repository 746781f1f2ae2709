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

	"tripleo.io/sidecar/client"
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
func benchShim(ctx context.Context, agent *client.Client, rounds int) error {
	if err := setUpShim(ctx); err != nil {
		return err
	}
	n, err := newNetwork(ctx, "shim")
	if err != nil {
		return err
	}
	times, err := paired(rounds,
		func() (time.Duration, error) { return shimOnce(ctx, agent, n) },
		func() (time.Duration, error) { return launchOnce(ctx, agent, n) },
		func() (time.Duration, error) { return wrapperOnce(ctx, n) },
		func() (time.Duration, error) { return spoolOnce(ctx, agent, n) },
	)
	if err != nil {
		return err
	}
	own := median(differences(times[0], times[1]))
	shim, wrapper, spool := median(times[0]), median(times[2]), median(times[3])
	report("shim_ms", milliseconds(shim), "ms")
	report("shim_own_ms", milliseconds(own), "ms")
	report("wrapper_ms", milliseconds(wrapper), "ms")
	report("shim_vs_wrapper_ratio", float64(shim)/float64(wrapper), "ratio")
	report("spool_ms", milliseconds(spool), "ms")
	return benchShimRefused(ctx, agent, n, rounds)
}

// benchShimRefused measures the shim's own time without the noise of a container:
// the service refuses the launch at once.
func benchShimRefused(ctx context.Context, agent *client.Client, n network, rounds int) error {
	p := n.launch()
	p.Arguments = append(p.Arguments, "--dhcp-script=/bin/sh")
	times, err := paired(5*rounds,
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
			_, err := agent.Launch(ctx, p)
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

func shimOnce(ctx context.Context, agent *client.Client, n network) (time.Duration, error) {
	return throughShim(ctx, agent, n, "SIDECAR_ADDRESS="+agentSocket)
}

func spoolOnce(ctx context.Context, agent *client.Client, n network) (time.Duration, error) {
	return throughShim(ctx, agent, n, "SIDECAR_ADDRESS="+noSocket, "SIDECAR_SPOOL="+spoolPath)
}

// throughShim launches through the shim, which names nothing but the arguments,
// and stops what was launched.
func throughShim(ctx context.Context, agent *client.Client, n network, environment ...string) (time.Duration, error) {
	begin := time.Now()
	err := n.inside(exec.CommandContext(ctx, linkPath, n.launch().Arguments...), environment...)
	took := time.Since(begin)
	if err != nil {
		return 0, err
	}
	netns := n.netns()
	all, err := agent.List(ctx, interfaces.ListParameters{NetworkNamespace: &netns})
	if err != nil {
		return 0, err
	}
	if len(all) != 1 {
		return 0, fmt.Errorf("%d sidecars in %s after the shim returned, want 1", len(all), netns)
	}
	_, err = agent.Stop(ctx, interfaces.StopParameters{ID: all[0].ID})
	return took, err
}

// wrapperOnce measures what Neutron waits for: that the wrapper returns and that the
// pid file is there, whichever comes last.
func wrapperOnce(ctx context.Context, n network) (time.Duration, error) {
	begin := time.Now()
	_, err := untilPID(ctx, n, func() error {
		return n.inside(exec.CommandContext(ctx, wrapperPath, n.launch().Arguments...))
	})
	took := time.Since(begin)
	if err != nil {
		return 0, err
	}
	_, err = output(ctx, "podman", "rm", "-f", "-t", "0", "neutron-dnsmasq-"+n.netns())
	return took, err
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
