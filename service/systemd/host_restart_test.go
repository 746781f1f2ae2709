//go:build testhost

package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/internal/retry"
)

// While systemd re-executes itself again and again, each unit is started once.
func TestRestartOfSystemdUnderLoad(t *testing.T) {
	c := dialHost(t)
	t.Cleanup(func() { sweep(t, c, "sdt-reexec-*") })
	units := 200
	if testing.Short() {
		units = 60
	}
	startUnder(t, c, "sdt-reexec-", units, 100*time.Millisecond, "systemctl", "daemon-reexec")
}

// While the bus restarts, each unit is started once.
func TestRestartOfBusUnderLoad(t *testing.T) {
	c := dialHost(t)
	t.Cleanup(func() { sweep(t, c, "sdt-bus-*") })
	startUnder(t, c, "sdt-bus-", 100, 700*time.Millisecond, "systemctl", "restart", "dbus.service")
	// Without signals every start takes pollInterval at least. With them any may, on
	// a busy machine, but not all.
	var took time.Duration
	for i := range 20 {
		begun := time.Now()
		start(t, c, fmt.Sprintf("sdt-bus-after-%d.service", i), kindReady)
		if took = time.Since(begun); took < pollInterval {
			return
		}
	}
	t.Errorf("a start takes %s: signals are not heard any more", took)
}

// startUnder starts n units or, on a fast machine, more, until a command of the host has
// disturbed it twice.
func startUnder(t *testing.T, c *Conn, prefix string, n int, every time.Duration, disturb ...string) {
	t.Helper()
	trace := filepath.Join(t.TempDir(), "starts")
	program := executable(t, `echo "$1" >> `+trace+"\nsystemd-notify --ready; exec sleep 600\n")
	ctx, cancel := context.WithCancel(context.Background())
	var times atomic.Int64
	var disturber sync.WaitGroup
	disturber.Go(func() {
		for retry.Pause(ctx, every) == nil {
			_ = exec.Command(disturb[0], disturb[1:]...).Run()
			times.Add(1)
		}
	})
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
	started := 0
	for end := time.Now().Add(2 * time.Minute); started < n || times.Load() < 2 && time.Now().Before(end); started++ {
		queue <- fmt.Sprintf("%s%04d.service", prefix, started)
	}
	close(queue)
	wg.Wait()
	cancel()
	disturber.Wait()
	t.Logf("%d times %s; starts: %v", times.Load(), strings.Join(disturb, " "), outcomes)
	if times.Load() == 0 {
		t.Error("nothing was disturbed")
	}
	checkTrace(t, trace, started)
	list, err := c.List(testContext(t), prefix+"*")
	if err != nil || len(list) != started {
		t.Errorf("%d units, %v; want %d", len(list), err, started)
	}
	if d := cmp.Diff(fresh(t, prefix+"*"), list); d != "" {
		t.Errorf("cached list differs (-read +cached):\n%s", d)
	}
}

// startTraced starts a unit that notes its name, and does what a caller
// must after ErrDisconnected.
func startTraced(t *testing.T, c *Conn, name, program string) string {
	properties := append(withoutCommand(script(kindReady)), ExecStart(program, name))
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
