//go:build testhost

package systemd

import (
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
// Arguments and environment have to come through that, and commands have to be
// there at all.
func TestSystemdKeepsArgumentsOverReload(t *testing.T) {
	c := dialHost(t)
	version, err := c.Version(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	const name = "sdt-arguments.service"
	t.Cleanup(func() { sweep(t, c, name) })
	program, out := printer(t)
	argv := []string{program, "", "é", "\u2028"}
	mangled := []string{"$", "$HOME", "${HOME}", "a;b", ";"}
	for char := byte(1); char < 128; char++ {
		if char != '$' && char != ';' {
			argv = append(argv, string(char), "a"+string(char)+"b", "%"+string(char))
		}
	}
	if version >= exPropertiesFrom {
		argv, mangled = append(argv, mangled...), nil
	}
	check := func(when string, argv []string) {
		t.Helper()
		want := append(slices.Clone(argv[1:]), strings.TrimPrefix(environment, "RECORD="))
		if d := cmp.Diff(want, printed(t, out)); d != "" {
			t.Errorf("%s the arguments differ (-want +got):\n%s", when, d)
		}
		u, err := c.Get(testContext(t), name)
		if d := cmp.Diff([]string{environment}, u.Environment); d != "" || err != nil || u.LoadState != "loaded" {
			t.Errorf("%s: %s, %v, environment (-want +got):\n%s", when, u.LoadState, err, d)
		}
	}
	properties := withoutCommand(script(kindReady))
	if _, err := c.Start(testContext(t), name, append(properties, ExecStart(append(argv, mangled...)))); err != nil {
		t.Fatal(err)
	}
	check("after the start", append(argv, mangled...))
	if _, err := c.Stop(testContext(t), name, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Start(testContext(t), name, append(properties, ExecStart(argv))); err != nil {
		t.Fatal(err)
	}
	check("after the second start", argv)
	run(t, "systemctl", "daemon-reload")
	run(t, "systemctl", "restart", name)
	check("after a reload", argv)
	run(t, "systemctl", "daemon-reexec")
	run(t, "systemctl", "restart", name)
	check("after a re-execution", argv)
}

// printer is a program that writes its arguments and $RECORD to a file.
func printer(t *testing.T) (program, out string) {
	t.Helper()
	out = filepath.Join(t.TempDir(), "out")
	return executable(t, fmt.Sprintf("printf '%%s\\0' \"$@\" \"$RECORD\" > %[1]s.new; mv %[1]s.new %[1]s\n"+
		"systemd-notify --ready; exec sleep 600\n", out)), out
}

// executable makes a program of a shell script, so that the unit needs no
// characters that systemd 252 loses.
func executable(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// printed takes what the printer wrote.
func printed(t *testing.T, out string) []string {
	t.Helper()
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(out); err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00")
}

func withoutCommand(properties []Property) []Property {
	return slices.DeleteFunc(properties, func(p Property) bool { return p.Name == "ExecStartEx" })
}

// While systemd executes itself anew again and again, each unit is started once.
func TestRestartOfSystemdUnderLoad(t *testing.T) {
	c := dialHost(t)
	t.Cleanup(func() { sweep(t, c, "sdt-reexec-*") })
	startUnder(t, c, "sdt-reexec-", 200, 100*time.Millisecond, "systemctl", "daemon-reexec")
}

// While the bus restarts, each unit is started once.
func TestRestartOfBusUnderLoad(t *testing.T) {
	c := dialHost(t)
	t.Cleanup(func() { sweep(t, c, "sdt-bus-*") })
	startUnder(t, c, "sdt-bus-", 100, 700*time.Millisecond, "systemctl", "restart", "dbus.service")
	begun := time.Now()
	start(t, c, "sdt-bus-after.service", kindReady)
	if took := time.Since(begun); took > pollInterval/2 {
		t.Errorf("a start takes %s: signals are not heard any more", took)
	}
}

// startUnder starts n units while a command of the host disturbs it.
func startUnder(t *testing.T, c *Conn, prefix string, n int, every time.Duration, disturb ...string) {
	t.Helper()
	trace := filepath.Join(t.TempDir(), "starts")
	program := executable(t, `echo "$1" >> `+trace+"\nsystemd-notify --ready; exec sleep 600\n")
	ctx, cancel := context.WithCancel(context.Background())
	disturbances := make(chan int)
	go func() {
		times := 0
		for ; pause(ctx, every) == nil; times++ {
			_ = exec.Command(disturb[0], disturb[1:]...).Run()
		}
		disturbances <- times
	}()
	var mu sync.Mutex
	outcomes := map[string]int{}
	var wg sync.WaitGroup
	queue := make(chan string)
	for range 16 {
		wg.Go(func() {
			for name := range queue {
				outcome := startTraced(t, c, name, program)
				mu.Lock()
				outcomes[outcome]++
				mu.Unlock()
			}
		})
	}
	for i := range n {
		queue <- fmt.Sprintf("%s%03d.service", prefix, i)
	}
	close(queue)
	wg.Wait()
	cancel()
	times := <-disturbances
	t.Logf("%d times %s; starts: %v", times, strings.Join(disturb, " "), outcomes)
	if times == 0 {
		t.Error("nothing was disturbed")
	}
	checkTrace(t, trace, n)
	list, err := c.List(testContext(t), prefix+"*")
	if err != nil || len(list) != n {
		t.Errorf("%d units, %v; want %d", len(list), err, n)
	}
	if d := cmp.Diff(fresh(t, prefix+"*"), list); d != "" {
		t.Errorf("cached list differs (-read +cached):\n%s", d)
	}
}

// startTraced starts a unit that notes its name, and does what a caller
// must after ErrDisconnected.
func startTraced(t *testing.T, c *Conn, name, program string) string {
	properties := append(withoutCommand(script(kindReady)), ExecStart([]string{program, name}))
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
