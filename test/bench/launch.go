package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
)

// benchLaunch compares a launch through the agent's socket with a bare podman
// run of the same container until the same pid file, alternating which is first.
func benchLaunch(ctx context.Context, agent *client.Client, rounds int) error {
	n, err := newNetwork(ctx, "launch")
	if err != nil {
		return err
	}
	argv, err := barePodman(ctx, agent, n)
	if err != nil {
		return err
	}
	times, err := paired(rounds,
		func() (time.Duration, error) { return launchOnce(ctx, agent, n) },
		func() (time.Duration, error) { return podmanOnce(ctx, argv, n) },
	)
	if err != nil {
		return err
	}
	ours, podman := median(times[0]), median(times[1])
	report("launch_ms", milliseconds(ours), "ms")
	report("podman_ms", milliseconds(podman), "ms")
	report("launch_ratio", float64(ours)/float64(podman), "ratio")
	return nil
}

func launchOnce(ctx context.Context, agent *client.Client, n network) (time.Duration, error) {
	begin := time.Now()
	s, err := agent.Launch(ctx, n.launch())
	took := time.Since(begin)
	if err != nil {
		return 0, err
	}
	_, err = agent.Stop(ctx, interfaces.StopParameters{ID: s.ID})
	return took, err
}

func podmanOnce(ctx context.Context, argv []string, n network) (time.Duration, error) {
	took, err := untilPID(ctx, n, func() error {
		_, err := output(ctx, argv...)
		return err
	})
	if err != nil {
		return 0, err
	}
	_, err = output(ctx, "podman", "rm", "-f", "-t", "0", "bench")
	return took, err
}

// untilPID runs what starts the network's dnsmasq, and returns when the pid file
// was there: that may be before or after it returned.
func untilPID(ctx context.Context, n network, start func() error) (time.Duration, error) {
	if err := os.Remove(n.pidFile()); err != nil && !os.IsNotExist(err) {
		return 0, err
	}
	begin := time.Now()
	done := make(chan error, 1)
	go func() { done <- start() }()
	waiting, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	waitErr := n.waitForPID(waiting)
	took := time.Since(begin)
	if err := <-done; err != nil {
		return 0, err
	}
	return took, waitErr
}

// barePodman is the command line that the service would use, for somebody who
// runs it by hand: the namespace and the directory by their own names, podman's
// own control groups, no notification.
func barePodman(ctx context.Context, agent *client.Client, n network) ([]string, error) {
	explained, err := agent.Explain(ctx, n.launch())
	if err != nil {
		return nil, err
	}
	argv := []string{"podman", "run", "-d", "--name=bench", "--network=ns:/run/netns/" + n.netns(), "-v", n.dir() + ":" + n.dir()}
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
	}, func(prefix string) bool { return strings.HasPrefix(word, prefix) })
}
