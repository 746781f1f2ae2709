package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
)

// benchList compares List with podman ps while many sidecars run, and reads the
// daemon's memory then.
func benchList(ctx context.Context, agent *client.Client, s settings) error {
	begin := time.Now()
	if err := fill(ctx, agent, s.sidecars); err != nil {
		return err
	}
	report("fill_s", time.Since(begin).Seconds(), "s")
	var ours, podman []time.Duration
	for range s.lists {
		took, err := listOnce(ctx, agent, s.sidecars)
		if err != nil {
			return err
		}
		ours = append(ours, took)
		begin := time.Now()
		if _, err := output(ctx, "podman", "ps"); err != nil {
			return err
		}
		podman = append(podman, time.Since(begin))
	}
	report("list_ms", milliseconds(median(ours)), "ms")
	report("podman_ps_ms", milliseconds(median(podman)), "ms")
	report("list_ratio", float64(median(ours))/float64(median(podman)), "ratio")
	rss, err := daemonRSS(ctx)
	if err != nil {
		return err
	}
	report("daemon_rss_mb", rss, "MB")
	return nil
}

// fill launches that many sidecars, each in a namespace of its own.
func fill(ctx context.Context, agent *client.Client, sidecars int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i := range sidecars {
		group.Go(func() error {
			n, err := newNetwork(ctx, fmt.Sprintf("list-%d", i))
			if err != nil {
				return err
			}
			_, err = agent.Launch(ctx, n.launch())
			return err
		})
	}
	return group.Wait()
}

func listOnce(ctx context.Context, agent *client.Client, want int) (time.Duration, error) {
	begin := time.Now()
	sidecars, err := agent.List(ctx, interfaces.ListParameters{})
	took := time.Since(begin)
	if err == nil && len(sidecars) != want {
		err = fmt.Errorf("%d sidecars, want %d", len(sidecars), want)
	}
	return took, err
}

// daemonRSS is the daemon's resident memory in MB (proc_pid_status(5), VmRSS).
func daemonRSS(ctx context.Context) (float64, error) {
	pid, err := output(ctx, "systemctl", "show", "-P", "MainPID", "sidecard")
	if err != nil {
		return 0, err
	}
	status, err := os.ReadFile("/proc/" + strings.TrimSpace(pid) + "/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmRSS:" {
			kib, err := strconv.ParseFloat(fields[1], 64)
			return kib * 1024 / 1e6, err
		}
	}
	return 0, fmt.Errorf("no VmRSS of process %s", pid)
}

// median returns the middle of the times, which it sorts.
func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
