package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
)

const (
	// few is how many sidecars run when a launch is measured for the first time.
	few = 10

	// restarts is how often the daemon is restarted.
	restarts = 5
)

// benchMany measures what depends on how many sidecars run: List against podman ps, the
// daemon's memory and restart, and a launch.
func (b *bench) benchMany(ctx context.Context) error {
	f := filling{bench: b, podman: b.sidecars}
	if b.runtime {
		f.podman = min(b.sidecars, b.containers)
	}
	among, err := newNetwork(ctx, "among")
	if err != nil {
		return err
	}
	early, err := f.launchAmong(ctx, among, min(few, b.sidecars))
	if err != nil {
		return err
	}
	if err := b.benchLists(ctx, &f); err != nil {
		return err
	}
	rss, err := daemonRSS(ctx)
	if err != nil {
		return err
	}
	report("daemon_rss_mb", rss, "MB")
	late, err := f.launchAmong(ctx, among, b.sidecars)
	if err != nil {
		return err
	}
	if b.runtime {
		report("launch_growth", float64(late)/float64(early), "ratio")
	}
	return b.benchRestart(ctx)
}

// filling makes the host fuller and fuller.
type filling struct {
	*bench
	podman int // how many sidecars podman runs, the first ones
	count  int // that run

	podmanTook, runtimeTook time.Duration
}

// upTo launches sidecars, each in a network of its own, until so many run.
func (f *filling) upTo(ctx context.Context, count int) error {
	err := f.launch(ctx, min(count, f.podman), profile, &f.podmanTook)
	if err == nil {
		err = f.launch(ctx, count, runtimeProfile, &f.runtimeTook)
	}
	return err
}

func (f *filling) launch(ctx context.Context, count int, profile string, took *time.Duration) error {
	if count <= f.count {
		return nil
	}
	networks, err := newNetworks(ctx, "many", f.count, count)
	if err != nil {
		return err
	}
	begin := time.Now()
	_, err = f.launchAll(ctx, networks, profile, callers)
	*took += time.Since(begin)
	f.count = count
	return err
}

// launchAmong returns the median of launches with the runtime engine while so many other
// sidecars run. Without the engine it only launches the others.
func (f *filling) launchAmong(ctx context.Context, n network, count int) (time.Duration, error) {
	if err := f.upTo(ctx, count); err != nil || !f.runtime {
		return 0, err
	}
	times, err := paired(f.rounds, func() (time.Duration, error) { return f.launchOnce(ctx, n, runtimeProfile) })
	if err != nil {
		return 0, err
	}
	return median(times[0]), nil
}

// benchLists compares List with podman ps when podman runs all sidecars that there are, and
// measures List alone when there are more.
func (b *bench) benchLists(ctx context.Context, f *filling) error {
	list := func() (time.Duration, error) { return b.listOnce(ctx, f.count) }
	var all []time.Duration
	if f.podman > 0 {
		if err := f.upTo(ctx, f.podman); err != nil {
			return err
		}
		times, err := inTurn(b.lists, list, func() (time.Duration, error) { return podmanPSOnce(ctx) })
		if err != nil {
			return err
		}
		all = times[0]
		report("fill_s", f.podmanTook.Seconds(), "s")
		report("podman_ps_ms", milliseconds(median(times[1])), "ms")
		report("list_ratio", ratio(times[0], times[1]), "ratio")
	}
	if f.podman < b.sidecars {
		if err := f.upTo(ctx, b.sidecars); err != nil {
			return err
		}
		fmt.Printf("bench: podman runs %d of the %d sidecars: fill_s, podman_ps_ms and list_ratio are with %[1]d (-podman-sidecars)\n", f.podman, b.sidecars)
		report("runtime_fill_s", f.runtimeTook.Seconds(), "s")
		times, err := inTurn(b.lists, list)
		if err != nil {
			return err
		}
		all = times[0]
	}
	report("list_ms", milliseconds(median(all)), "ms")
	return nil
}

func (b *bench) listOnce(ctx context.Context, want int) (time.Duration, error) {
	begin := time.Now()
	sidecars, err := b.agent.List(ctx, interfaces.ListParameters{})
	took := time.Since(begin)
	if err == nil && len(sidecars) != want {
		err = fmt.Errorf("%d sidecars, want %d", len(sidecars), want)
	}
	return took, err
}

func podmanPSOnce(ctx context.Context) (time.Duration, error) {
	begin := time.Now()
	_, err := output(ctx, "podman", "ps")
	return time.Since(begin), err
}

// benchRestart measures how long callers wait when the daemon is restarted.
func (b *bench) benchRestart(ctx context.Context) error {
	times, err := inTurn(restarts, func() (time.Duration, error) { return b.restartOnce(ctx) })
	if err != nil {
		return err
	}
	report("restart_first_answer_ms", milliseconds(median(times[0])), "ms")
	return nil
}

// restartOnce returns the time from the restart of the daemon to the answer of a List over
// a connection that the new daemon accepts: the call is made when the old daemon has ended,
// and waits on the agent's socket, which systemd keeps.
func (b *bench) restartOnce(ctx context.Context) (time.Duration, error) {
	fresh, err := client.New(agentSocket)
	if err != nil {
		return 0, err
	}
	old, err := daemonPID(ctx)
	if err != nil {
		return 0, err
	}
	pidfd, err := unix.PidfdOpen(old, 0)
	if err != nil {
		return 0, fmt.Errorf("watch the daemon: %w", err)
	}
	defer unix.Close(pidfd)
	begin := time.Now()
	done := make(chan error, 1)
	go func() {
		_, err := output(ctx, "systemctl", "restart", "sidecard")
		done <- err
	}()
	if err := waitForEnd(pidfd); err != nil {
		return 0, err
	}
	_, err = fresh.List(ctx, interfaces.ListParameters{})
	took := time.Since(begin)
	if restart := <-done; restart != nil {
		return 0, restart
	}
	return took, err
}

// waitForEnd waits until a process has ended: its pidfd becomes readable (pidfd_open(2)).
func waitForEnd(pidfd int) error {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, int(time.Minute/time.Millisecond))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return fmt.Errorf("wait for the daemon's end: %w", err)
		case n == 0:
			return fmt.Errorf("the daemon has not ended after a minute")
		default:
			return nil
		}
	}
}
