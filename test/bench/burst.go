package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
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
	sides := []func() (cost, error){
		func() (cost, error) { return b.burstOnce(ctx, networks, profile) },
		func() (cost, error) { return bareBurstOnce(ctx, networks, lines) },
	}
	names := []string{"burst", "podman_burst"}
	if b.runtime {
		sides = append(sides, func() (cost, error) { return b.burstOnce(ctx, networks, runtimeProfile) })
		names = append(names, "runtime_burst")
	}
	costs, err := inTurn(b.bursts, sides...)
	if err != nil {
		return err
	}
	podman, podmanCPU := apart(costs[1])
	for i, name := range names {
		took, cpu := apart(costs[i])
		report(name+"_s", median(took).Seconds(), "s")
		report(name+"_cpu_ms", milliseconds(median(cpu)), "ms")
		if name != "podman_burst" {
			report(name+"_ratio", ratio(took, podman), "ratio")
			report(name+"_cpu_ratio", ratio(cpu, podmanCPU), "ratio")
		}
	}
	return nil
}

// cost is what a burst takes: time, and processor time of the whole host for each launch.
// Other machines' or containers' work prolongs only the first.
type cost struct{ took, cpu time.Duration }

// apart returns the times and the processor times.
func apart(costs []cost) (took, cpu []time.Duration) {
	for _, c := range costs {
		took, cpu = append(took, c.took), append(cpu, c.cpu)
	}
	return took, cpu
}

// measured runs a burst, which returns its time.
func measured(burst func() (time.Duration, error)) (cost, error) {
	before, err := hostCPU()
	if err != nil {
		return cost{}, err
	}
	took, err := burst()
	if err != nil {
		return cost{}, err
	}
	after, err := hostCPU()
	return cost{took, (after - before) / burstSize}, err
}

// hostCPU returns the processor time of all processes of the host (cpu.stat in the kernel's
// Documentation/admin-guide/cgroup-v2.rst).
func hostCPU() (time.Duration, error) {
	const path, key = "/sys/fs/cgroup/cpu.stat", "usage_usec "
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, key); ok {
			return time.ParseDuration(strings.TrimSpace(value) + "us")
		}
	}
	return 0, fmt.Errorf("%s: no %s", path, key)
}

// burstOnce launches a sidecar in each network, and stops them.
func (b *bench) burstOnce(ctx context.Context, networks []network, profile string) (cost, error) {
	var sidecars []*interfaces.Sidecar
	c, err := measured(func() (time.Duration, error) {
		begin := time.Now()
		var err error
		sidecars, err = b.launchAll(ctx, networks, profile, burstCallers)
		return time.Since(begin), err
	})
	if err != nil {
		return c, err
	}
	return c, b.stopAll(ctx, sidecars)
}

// bareBurstOnce runs the command lines, and removes the containers.
func bareBurstOnce(ctx context.Context, networks []network, lines string) (cost, error) {
	c, err := measured(func() (time.Duration, error) {
		return untilPIDs(ctx, networks, func() error {
			xargs := exec.CommandContext(ctx, "xargs", "-P", fmt.Sprint(burstPodmans), "-L", "1", "podman")
			xargs.Stdin, xargs.Stderr = strings.NewReader(lines), os.Stderr
			return xargs.Run()
		})
	})
	if err != nil {
		return c, fmt.Errorf("the burst of podmans: %w", err)
	}
	var names []string
	for _, n := range networks {
		names = append(names, n.container())
	}
	return c, errors.Join(stillRunning(ctx, names), removeContainers(ctx, names...))
}

// stillRunning returns an error if a container has ended: podman's clean-up after it would
// have taken the processors from the others.
func stillRunning(ctx context.Context, names []string) error {
	running, err := output(ctx, "podman", "ps", "--format={{.Names}}")
	if err != nil {
		return err
	}
	for _, name := range names {
		if !slices.Contains(strings.Fields(running), name) {
			return fmt.Errorf("%s has ended", name)
		}
	}
	return nil
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
