//go:build testhost

package systemd

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// run runs a program of the host.
func run(t *testing.T, argv ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
}

// startMany starts n units side by side, with names by the pattern.
func startMany(t *testing.T, c *Conn, n int, pattern string) []string {
	t.Helper()
	names := make([]string, n)
	var wg sync.WaitGroup
	for i := range names {
		names[i] = fmt.Sprintf(pattern, i)
		wg.Go(func() {
			if _, err := c.Start(testContext(t), names[i], script(kindReady)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	return names
}

// fresh reads the same units past the cache.
func fresh(t *testing.T, pattern string) []Unit {
	t.Helper()
	c := dialHost(t)
	defer c.Close()
	list, err := c.List(testContext(t), pattern)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestSystemdListsManyUnitsFast(t *testing.T) {
	c := dialHost(t)
	const pattern = "sdt-many-*.service"
	t.Cleanup(func() { sweep(t, c, pattern) })
	names := startMany(t, c, 200, "sdt-many-%03d.service")
	if _, err := c.List(testContext(t), pattern); err != nil {
		t.Fatal(err)
	}
	var times []time.Duration
	for range 20 {
		begun := time.Now()
		list, err := c.List(testContext(t), pattern)
		times = append(times, time.Since(begun))
		if err != nil || len(list) != len(names) {
			t.Fatalf("%d units, %v", len(list), err)
		}
	}
	slices.Sort(times)
	begun := time.Now()
	uncached := fresh(t, pattern)
	took := time.Since(begun)
	t.Logf("list of 200 units: median %s, longest %s; all read again %s", times[10], times[19], took)
	if times[10] > took/2 {
		t.Errorf("list of 200 units takes %s, and %s when all are read", times[10], took)
	}
	cached, _ := c.List(testContext(t), pattern)
	if d := cmp.Diff(uncached, cached); d != "" {
		t.Errorf("cached list differs (-read +cached):\n%s", d)
	}
}

// Whatever happens to units from outside, a listing says it.
func TestSystemdListIsNeverStale(t *testing.T) {
	c := dialHost(t)
	const pattern = "sdt-stale-*.service"
	t.Cleanup(func() { sweep(t, c, pattern) })
	names := startMany(t, c, 10, "sdt-stale-%d.service")
	for i := range 50 {
		name := names[i%len(names)]
		switch i % 4 {
		case 0:
			run(t, "systemctl", "kill", "--signal=KILL", "--kill-whom=all", name)
		case 1, 3:
			run(t, "systemctl", "restart", name)
		case 2:
			run(t, "systemctl", "daemon-reload")
		}
		cached, err := c.List(testContext(t), pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range cached {
			now, err := c.Get(testContext(t), u.Name)
			if err == nil && (now.InvocationID != u.InvocationID || (u.StartedUSec != now.StartedUSec && u.ActiveState == now.ActiveState)) {
				t.Errorf("round %d: listed %+v\nis %+v", i, u, now)
			}
		}
		if cached, err = c.List(testContext(t), pattern); err != nil || len(cached) != len(names) {
			t.Fatalf("round %d: %d units, %v", i, len(cached), err)
		}
	}
	time.Sleep(time.Second)
	cached, _ := c.List(testContext(t), pattern)
	if d := cmp.Diff(fresh(t, pattern), cached); d != "" {
		t.Errorf("cached list differs (-read +cached):\n%s", d)
	}
}
