package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// benchLaunch compares a launch through the agent's socket with a bare podman
// run of the same container until the same pid file, alternating which is first.
func (b *bench) benchLaunch(ctx context.Context) error {
	n, err := newNetwork(ctx, "launch")
	if err != nil {
		return err
	}
	argv, err := b.barePodman(ctx, n)
	if err != nil {
		return err
	}
	sides := []side{
		func() (time.Duration, error) { return b.launchOnce(ctx, n, profile) },
		func() (time.Duration, error) { return podmanOnce(ctx, argv, n) },
	}
	if b.runtime {
		sides = append(sides, func() (time.Duration, error) { return b.launchOnce(ctx, n, runtimeProfile) })
	}
	times, err := paired(b.rounds, sides...)
	if err != nil {
		return err
	}
	report("launch_ms", milliseconds(median(times[0])), "ms")
	report("podman_ms", milliseconds(median(times[1])), "ms")
	report("launch_ratio", ratio(times[0], times[1]), "ratio")
	if b.runtime {
		report("runtime_launch_ms", milliseconds(median(times[2])), "ms")
		report("runtime_launch_ratio", ratio(times[2], times[1]), "ratio")
	}
	return nil
}

func (b *bench) launchOnce(ctx context.Context, n network, profile string) (time.Duration, error) {
	begin := time.Now()
	s, err := b.agent.Launch(ctx, n.launch(profile))
	took := time.Since(begin)
	if err != nil {
		return 0, err
	}
	_, err = b.agent.Stop(ctx, interfaces.StopParameters{ID: s.ID})
	return took, err
}

func podmanOnce(ctx context.Context, argv []string, n network) (time.Duration, error) {
	took, err := untilPIDs(ctx, []network{n}, func() error {
		_, err := output(ctx, argv...)
		return err
	})
	if err != nil {
		return 0, err
	}
	return took, removeContainers(ctx, n.container())
}

func removeContainers(ctx context.Context, names ...string) error {
	_, err := output(ctx, append([]string{"podman", "rm", "-f", "-t", "0"}, names...)...)
	return err
}

// untilPIDs runs what starts the networks' dnsmasqs, and returns when the pid files
// were there: that may be before or after it returned.
func untilPIDs(ctx context.Context, networks []network, start func() error) (time.Duration, error) {
	for _, n := range networks {
		if err := os.Remove(n.pidFile()); err != nil && !os.IsNotExist(err) {
			return 0, err
		}
	}
	begin := time.Now()
	done := make(chan error, 1)
	go func() { done <- start() }()
	waiting, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	pause := min(time.Duration(len(networks))*500*time.Microsecond, 10*time.Millisecond) // a burst needs the processors
	var waitErr error
	for _, n := range networks {
		if waitErr == nil {
			waitErr = n.waitForPID(waiting, pause)
		}
	}
	took := time.Since(begin)
	if err := <-done; err != nil {
		return 0, err
	}
	return took, waitErr
}

// container is the name of the network's container in a bare podman run.
func (n network) container() string { return "bench-" + n.name }

// barePodman is the command line that the service would use, for somebody who
// runs it by hand: the namespace and the directory by their own names, podman's
// own control groups, no notification.
func (b *bench) barePodman(ctx context.Context, n network) ([]string, error) {
	explained, err := b.agent.Explain(ctx, n.launch(profile))
	if err != nil {
		return nil, err
	}
	argv := []string{"podman", "run", "-d", "--name=" + n.container(), "--network=ns:/run/netns/" + n.netns(), "-v", n.dir() + ":" + n.dir()}
	for _, word := range explained.EngineCommand {
		if keptFlag(word) {
			argv = append(argv, word)
		}
	}
	if len(argv) < 15 {
		return nil, fmt.Errorf("no command line in the answer of Explain: %q", explained.EngineCommand)
	}
	argv = append(argv, "--entrypoint=[]", explained.Image)
	return append(argv, explained.Command...), nil
}

// keptFlag reports whether a flag of the service's podman run means the same
// outside a unit.
func keptFlag(word string) bool {
	return slices.ContainsFunc([]string{
		"--rm", "--replace", "--pull=", "--log-driver=", "--read-only", "--no-hosts", "--no-healthcheck",
		"--image-volume=", "--http-proxy=", "--security-opt=", "--cap-drop=", "--cap-add=",
		"--user=", "--passwd=", // as root, dnsmasq would end: it may not change its user
	}, func(prefix string) bool { return strings.HasPrefix(word, prefix) })
}
