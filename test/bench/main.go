// Command bench measures the service against bare podman, inside a throw-away
// host, and prints lines "bench NAME VALUE UNIT". The sides run in turn in one
// process, so that a noisy machine is noisy for all; every figure is a median.
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

// limit bounds the program: with 2000 sidecars most of the time is systemd's and podman's.
const limit = 90 * time.Minute

// settings say how much is measured.
type settings struct {
	rounds     int
	bursts     int
	sidecars   int
	containers int
	lists      int
	starts     int
	only       string
	trace      bool
	among      int
}

// bench is what every measurement needs.
type bench struct {
	settings
	agent   *client.Client
	runtime bool // the service has the runtime engine
}

func main() {
	var s settings
	flag.IntVar(&s.rounds, "rounds", 40, "launches on each side")
	flag.IntVar(&s.bursts, "bursts", 3, "bursts on each side")
	flag.IntVar(&s.sidecars, "sidecars", 200, "sidecars for List and the daemon's memory")
	flag.IntVar(&s.containers, "podman-sidecars", 200, "how many of the sidecars podman runs, if the service has the runtime engine, which is faster")
	flag.IntVar(&s.lists, "lists", 20, "lists on each side")
	flag.IntVar(&s.starts, "starts", 0, "how many units the service starts at once; 0: as it is shipped")
	flag.StringVar(&s.only, "only", "", "measure only this part: launch, shim, burst, overhead or many")
	flag.BoolVar(&s.trace, "trace", false, `only trace launches, and print lines "trace PART MS"`)
	flag.IntVar(&s.among, "among", 0, "trace launches while so many other sidecars run")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
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
	if s.sidecars < 1 || s.rounds < 1 || s.bursts < 1 || s.lists < 1 {
		return fmt.Errorf("-sidecars, -rounds, -bursts and -lists must be at least 1")
	}
	b, err := setUp(ctx, s)
	if err != nil {
		return err
	}
	if s.trace {
		return b.benchTrace(ctx)
	}
	if err := b.measure(ctx); err != nil {
		return err
	}
	// Hundreds of containers would make the host's shutdown wait for podman.
	_, err = output(ctx, "systemctl", "stop", "sidecar.slice")
	return err
}

// measure runs all parts, or the one that was asked for.
func (b *bench) measure(ctx context.Context) error {
	known := false
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"launch", b.benchLaunch},
		{"shim", b.benchShim},
		{"burst", b.benchBurst},
		{"overhead", b.benchOverhead},
		{"many", b.benchMany},
	} {
		if b.only != "" && b.only != part.name {
			continue
		}
		known = true
		if err := part.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	if !known {
		return fmt.Errorf("-only: there is no part %q", b.only)
	}
	return nil
}

// report prints one figure.
func report(name string, value float64, unit string) {
	fmt.Printf("bench %s %.3f %s\n", name, value, unit)
}
