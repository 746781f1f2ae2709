// Command bench measures the service against bare podman, inside a throw-away
// host, and prints lines "bench NAME VALUE UNIT". Both sides run in turn in one
// process, so that a noisy machine is noisy for both; every figure is a median.
// BENCHMARKS.md says what the figures mean.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"tripleo.io/sidecar/client"
)

// settings say how much is measured.
type settings struct {
	rounds   int
	sidecars int
	lists    int
}

func main() {
	var s settings
	flag.IntVar(&s.rounds, "rounds", 40, "launches on either side")
	flag.IntVar(&s.sidecars, "sidecars", 200, "sidecars for List and the daemon's memory")
	flag.IntVar(&s.lists, "lists", 20, "lists on either side")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings) error {
	if os.Getenv("SIDECAR_TESTHOST") != "1" {
		return fmt.Errorf("this changes the host that it runs on: use make bench, which boots one")
	}
	if err := setUp(ctx); err != nil {
		return err
	}
	agent, err := client.New(agentSocket)
	if err != nil {
		return err
	}
	if err := benchLaunch(ctx, agent, s.rounds); err != nil {
		return fmt.Errorf("launch: %w", err)
	}
	if err := benchShim(ctx, agent, s.rounds); err != nil {
		return fmt.Errorf("shim: %w", err)
	}
	if err := benchList(ctx, agent, s); err != nil {
		return fmt.Errorf("list: %w", err)
	}
	// Hundreds of containers would make the host's shutdown wait for podman.
	_, err = output(ctx, "systemctl", "stop", "sidecar.slice")
	return err
}

// report prints one figure.
func report(name string, value float64, unit string) {
	fmt.Printf("bench %s %.3f %s\n", name, value, unit)
}
