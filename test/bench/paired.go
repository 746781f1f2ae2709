package main

import (
	"os"
	"path/filepath"
	"slices"
	"time"
)

// side is one way to do what is measured. It returns how long it took, without
// what it does to be ready for the next round.
type side = func() (time.Duration, error)

// warmUp rounds fill caches and are not counted.
const warmUp = 2

// paired runs the sides in turn, after some rounds that are not counted, and returns the
// times of each.
func paired(rounds int, sides ...side) ([][]time.Duration, error) {
	if _, err := inTurn(warmUp, sides...); err != nil {
		return nil, err
	}
	return inTurn(rounds, sides...)
}

// inTurn runs the sides in turn, beginning with another one in each round, and returns the
// results of each.
func inTurn[T any](rounds int, sides ...func() (T, error)) ([][]T, error) {
	results := make([][]T, len(sides))
	for round := range rounds {
		for i := range sides {
			at := (i + round) % len(sides)
			settle()
			result, err := sides[at]()
			if err != nil {
				return nil, err
			}
			results[at] = append(results[at], result)
		}
	}
	return results, nil
}

// settle waits until the side before has ended altogether: podman cleans up after a container
// in the background, for as long as a launch takes. It gives up if somebody else uses podman.
func settle() {
	for end := time.Now().Add(10 * time.Second); podmanRuns() && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
}

// podmanRuns reports whether a process of podman is there, or one that has the same name.
func podmanRuns() bool {
	names, _ := filepath.Glob("/proc/[0-9]*/comm") // the pattern is right
	return slices.ContainsFunc(names, func(path string) bool {
		name, err := os.ReadFile(path)
		return err == nil && string(name) == "podman\n"
	})
}

// differences of the rounds of two sides: what both have in common, noise
// included, falls out.
func differences(a, b []time.Duration) []time.Duration {
	var all []time.Duration
	for i := range a {
		all = append(all, a[i]-b[i])
	}
	return all
}

// median returns the middle of the times, which it sorts.
func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

// ratio of the medians of two sides.
func ratio(a, b []time.Duration) float64 { return float64(median(a)) / float64(median(b)) }

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
