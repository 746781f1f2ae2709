package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"tripleo.io/sidecar/interfaces"
)

const (
	// callers is how many calls are under way at once, where the number does not matter.
	callers = 8

	// A burst is what an agent asks for after its start: so many launches by so many
	// callers, and the same by hand with so many podmans at once.
	burstSize    = 100
	burstCallers = 20
	burstPodmans = 4
)

// benchBurst compares a burst of launches with a burst of bare podmans.
func (b *bench) benchBurst(ctx context.Context) error {
	networks, err := newNetworks(ctx, "burst", 0, burstSize)
	if err != nil {
		return err
	}
	lines, err := b.podmanLines(ctx, networks)
	if err != nil {
		return err
	}
	sides := []side{
		func() (time.Duration, error) { return b.burstOnce(ctx, networks, profile) },
		func() (time.Duration, error) { return bareBurstOnce(ctx, networks, lines) },
	}
	if b.runtime {
		sides = append(sides, func() (time.Duration, error) { return b.burstOnce(ctx, networks, runtimeProfile) })
	}
	times, err := inTurn(b.bursts, sides...)
	if err != nil {
		return err
	}
	report("burst_s", median(times[0]).Seconds(), "s")
	report("podman_burst_s", median(times[1]).Seconds(), "s")
	report("burst_ratio", ratio(times[0], times[1]), "ratio")
	if b.runtime {
		report("runtime_burst_s", median(times[2]).Seconds(), "s")
		report("runtime_burst_ratio", ratio(times[2], times[1]), "ratio")
	}
	return nil
}

// burstOnce launches a sidecar in each network, and stops them.
func (b *bench) burstOnce(ctx context.Context, networks []network, profile string) (time.Duration, error) {
	begin := time.Now()
	sidecars, err := b.launchAll(ctx, networks, profile, burstCallers)
	took := time.Since(begin)
	if err != nil {
		return 0, err
	}
	return took, b.stopAll(ctx, sidecars)
}

// bareBurstOnce runs the command lines, and removes the containers.
func bareBurstOnce(ctx context.Context, networks []network, lines string) (time.Duration, error) {
	took, err := untilPIDs(ctx, networks, func() error {
		xargs := exec.CommandContext(ctx, "xargs", "-P", fmt.Sprint(burstPodmans), "-L", "1", "podman")
		xargs.Stdin, xargs.Stderr = strings.NewReader(lines), os.Stderr
		return xargs.Run()
	})
	if err != nil {
		return 0, fmt.Errorf("the burst of podmans: %w", err)
	}
	var names []string
	for _, n := range networks {
		names = append(names, n.container())
	}
	return took, removeContainers(ctx, names...)
}

// podmanLines returns podman's arguments for each network, a line for each, for xargs(1).
func (b *bench) podmanLines(ctx context.Context, networks []network) (string, error) {
	var lines strings.Builder
	for _, n := range networks {
		argv, err := b.barePodman(ctx, n)
		if err != nil {
			return "", err
		}
		for _, word := range argv {
			if word == "" || strings.ContainsAny(word, " \t\n'\"\\") {
				return "", fmt.Errorf("xargs would take the argument %q apart", word)
			}
		}
		lines.WriteString(strings.Join(argv[1:], " ") + "\n")
	}
	return lines.String(), nil
}

// launchAll launches a sidecar in each network, with so many calls at once.
func (b *bench) launchAll(ctx context.Context, networks []network, profile string, callers int) ([]*interfaces.Sidecar, error) {
	sidecars := make([]*interfaces.Sidecar, len(networks))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(callers)
	for i, n := range networks {
		group.Go(func() (err error) {
			sidecars[i], err = b.agent.Launch(ctx, n.launch(profile))
			return err
		})
	}
	return sidecars, group.Wait()
}

func (b *bench) stopAll(ctx context.Context, sidecars []*interfaces.Sidecar) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(callers)
	for _, s := range sidecars {
		group.Go(func() error {
			_, err := b.agent.Stop(ctx, interfaces.StopParameters{ID: s.ID})
			return err
		})
	}
	return group.Wait()
}
