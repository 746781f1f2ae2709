//go:build testhost

package systemd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
	t.Logf("list of 200 units: median %s, longest %s; all read anew %s", times[10], times[19], time.Since(begun))
	if times[10] > 15*time.Millisecond {
		t.Errorf("list of 200 units takes %s", times[10])
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
			if err == nil && (now.InvocationID != u.InvocationID || (u.MainPID != now.MainPID && u.ActiveState == now.ActiveState)) {
				t.Errorf("round %d: listed %+v\nis %+v", i, u, now)
			}
		}
		if cached, err = c.List(testContext(t), pattern); err != nil || len(cached) != len(names) {
			t.Fatalf("round %d: %d units, %v", i, len(cached), err)
		}
	}
	time.Sleep(100 * time.Millisecond)
	cached, _ := c.List(testContext(t), pattern)
	if d := cmp.Diff(fresh(t, pattern), cached); d != "" {
		t.Errorf("cached list differs (-read +cached):\n%s", d)
	}
}

// systemd writes a transient unit into a file and reads it again on a reload.
// Arguments and environment have to come through that.
func TestSystemdKeepsArgumentsOverReload(t *testing.T) {
	c := dialHost(t)
	const name = "sdt-arguments.service"
	t.Cleanup(func() { sweep(t, c, name) })
	out := filepath.Join(t.TempDir(), "out")
	argv := []string{"/bin/sh", "-c", `systemd-notify --ready; printf '%s\0' "$@" "$RECORD" > "$0"; exec sleep 600`, out,
		"", " ", "$HOME", "${HOME}", "$$", "100%", "%n", "%%", `"`, `'`, `\`, `\x41`, "a\nb", "\t", ";", "-", "@", ":", "+", "ü", "\u2014", "\x01", "--x=a b"}
	properties := append(script(kindReady), ExecStart(argv))
	properties = slices.DeleteFunc(properties, func(p Property) bool {
		return p.Name == "ExecStartEx" && p.Value.String() != ExecStart(argv).Value.String()
	})
	if _, err := c.Start(testContext(t), name, properties); err != nil {
		t.Fatal(err)
	}
	want := strings.Join(append(argv[4:], strings.TrimPrefix(environment, "RECORD=")), "\x00") + "\x00"
	for _, command := range [][]string{nil, {"systemctl", "daemon-reload"}, {"systemctl", "restart", name}} {
		if command != nil {
			run(t, command...)
		}
		waitFor(t, "the output", func() bool {
			got, _ := os.ReadFile(out)
			return bytes.HasSuffix(got, []byte("\x00"))
		})
		got, _ := os.ReadFile(out)
		if d := cmp.Diff(want, string(got)); d != "" {
			t.Errorf("after %v the arguments differ (-want +got):\n%s", command, d)
		}
		u, err := c.Get(testContext(t), name)
		if d := cmp.Diff([]string{environment}, u.Environment); d != "" || err != nil {
			t.Errorf("after %v: %v, environment (-want +got):\n%s", command, err, d)
		}
	}
}

// While systemd executes itself anew again and again, each unit is started once.
func TestRestartOfSystemdUnderLoad(t *testing.T) {
	c := dialHost(t)
	const pattern = "sdt-reexec-*.service"
	t.Cleanup(func() { sweep(t, c, pattern) })
	trace := filepath.Join(t.TempDir(), "starts")
	ctx, cancel := context.WithCancel(context.Background())
	reexecs := make(chan int)
	go func() {
		n := 0
		for ; ctx.Err() == nil; n++ {
			_ = exec.Command("systemctl", "daemon-reexec").Run()
			_ = pause(ctx, 100*time.Millisecond)
		}
		reexecs <- n
	}()
	var mu sync.Mutex
	outcomes := map[string]int{}
	var wg sync.WaitGroup
	queue := make(chan string)
	for range 16 {
		wg.Go(func() {
			for name := range queue {
				outcome := startTraced(t, c, name, trace)
				mu.Lock()
				outcomes[outcome]++
				mu.Unlock()
			}
		})
	}
	const n = 200
	for i := range n {
		queue <- fmt.Sprintf("sdt-reexec-%03d.service", i)
	}
	close(queue)
	wg.Wait()
	cancel()
	t.Logf("%d re-executions; starts: %v", <-reexecs, outcomes)
	checkTrace(t, trace, n)
	list, err := c.List(testContext(t), pattern)
	if err != nil || len(list) != n {
		t.Errorf("%d units, %v; want %d", len(list), err, n)
	}
	if d := cmp.Diff(fresh(t, pattern), list); d != "" {
		t.Errorf("cached list differs (-read +cached):\n%s", d)
	}
}

// startTraced starts a unit that adds its name to a file, and does what a caller
// must after ErrDisconnected.
func startTraced(t *testing.T, c *Conn, name, trace string) string {
	properties := append(script(kindReady)[:3:3], ExecStart([]string{
		"/bin/sh", "-c", `echo "$0" >> "$1"; systemd-notify --ready; exec sleep 600`, name, trace,
	}))
	for attempt := 0; ; attempt++ {
		u, err := c.Start(testContext(t), name, properties)
		switch {
		case err == nil && u.ActiveState == "active":
			return fmt.Sprintf("attempt %d", attempt)
		case errors.Is(err, ErrDisconnected) && attempt < 10:
			if _, err := c.Get(testContext(t), name); err == nil {
				return "there after a lost answer"
			}
		default:
			t.Errorf("start %s: %+v, %v", name, u, err)
			return "failed"
		}
	}
}

// checkTrace wants every unit to have started once.
func checkTrace(t *testing.T, trace string, n int) {
	t.Helper()
	data, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	starts := map[string]int{}
	for line := range strings.Lines(string(data)) {
		starts[line]++
	}
	for name, times := range starts {
		if times != 1 {
			t.Errorf("%s was started %d times", strings.TrimSpace(name), times)
		}
	}
	if len(starts) != n {
		t.Errorf("%d units were started, want %d", len(starts), n)
	}
}
