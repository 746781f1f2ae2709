//go:build testhost

package test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// TestDBusRestartUnderLoad restarts the bus while varlink and D-Bus callers launch,
// list and stop. varlink callers only wait; D-Bus callers may get a clean error;
// nothing is restarted.
func TestDBusRestartUnderLoad(t *testing.T) {
	begin(t)
	namespace(t, "t-load")
	stopAllAtEnd(t, tester)
	var stays []*interfaces.Sidecar
	for range 4 {
		stays = append(stays, start(t, tester, probe(t, "t-load")))
	}
	stop := make(chan struct{})
	var callers sync.WaitGroup
	varlink, twin := &tally{}, &tally{}
	for range 2 {
		p, q := probe(t, "t-load"), probe(t, "t-load")
		callers.Go(func() { varlink.until(stop, func() error { return overVarlink(t, p) }) })
		callers.Go(func() { twin.until(stop, func() error { return overDBus(t, q) }) })
	}
	for range 3 {
		time.Sleep(2 * time.Second)
		run(t, "systemctl", "restart", "dbus.service")
	}
	time.Sleep(2 * time.Second)
	close(stop)
	callers.Wait()
	t.Logf("varlink: %v", varlink)
	t.Logf("D-Bus: %v", twin)
	for _, err := range varlink.failures {
		t.Errorf("varlink: %v", err)
	}
	for _, err := range twin.failures {
		if !cleanError(err) {
			t.Errorf("D-Bus: %v", err)
		}
	}
	if varlink.calls == 0 || twin.calls == 0 {
		t.Error("nothing was called")
	}
	eventually(t, 10*time.Second, "D-Bus is back", func() bool {
		return manager(minute(t), nil, "List", "a{sv}", "0") == nil
	})
	for _, s := range stays {
		now := get(t, tester, s.ID)
		if *now.Runtime.InvocationID != *s.Runtime.InvocationID || *now.Runtime.ProcessID != *s.Runtime.ProcessID || now.Runtime.Restarts != 0 {
			t.Errorf("%s was started again", s.ID)
		}
	}
}

// tally counts calls.
type tally struct {
	mu       sync.Mutex
	calls    int
	longest  time.Duration
	failures []error
}

func (c *tally) String() string {
	return fmt.Sprintf("%d rounds, the longest took %v, errors: %v", c.calls, c.longest.Round(time.Millisecond), c.failures)
}

// until calls until it is told to stop.
func (c *tally) until(stop <-chan struct{}, call func() error) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		began := time.Now()
		err := call()
		c.mu.Lock()
		c.calls++
		c.longest = max(c.longest, time.Since(began))
		if err != nil {
			c.failures = append(c.failures, err)
		}
		c.mu.Unlock()
	}
}

// overVarlink is a round of calls on the agent's socket.
func overVarlink(t *testing.T, p interfaces.LaunchParameters) error {
	s, err := as(t, tester).Launch(minute(t), p)
	if err != nil {
		return fmt.Errorf("launch: %w", err)
	}
	if _, err := as(t, tester).List(minute(t), interfaces.ListParameters{}); err != nil {
		return fmt.Errorf("list: %w", err)
	}
	if _, err := as(t, tester).Stop(minute(t), interfaces.StopParameters{ID: s.ID}); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	return nil
}

// overDBus is the same by busctl. What was launched by a call whose answer was lost
// is stopped by the next round, or at the end of the test.
func overDBus(t *testing.T, p interfaces.LaunchParameters) error {
	id := interfaces.NewID(tester, "probe", pidFileOf(p.Arguments)).String()
	if err := manager(minute(t), nil, "Launch", asBusctl(tester, p)...); err != nil {
		return fmt.Errorf("launch: %w", err)
	}
	if err := manager(minute(t), nil, "List", "a{sv}", "0"); err != nil {
		return fmt.Errorf("list: %w", err)
	}
	if err := manager(minute(t), nil, "Stop", "sa{sv}", id, "0"); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	return nil
}

// cleanError reports whether busctl says what happened: it has lost the bus, or finds
// none.
func cleanError(err error) bool {
	for _, text := range []string{
		"Connection reset by peer", "Remote peer disconnected", "Connection refused", "No such file or directory",
		"Connection terminated", "disconnected", "Transport endpoint is not connected", "Broken pipe",
	} {
		if strings.Contains(err.Error(), text) {
			return true
		}
	}
	return false
}
