package service

import (
	"sync"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// TestMonitorAndWatchdogDoNotWaitForEachOther has the watchdog's look at the locks
// meet looks at the sidecars, which take two of them.
func TestMonitorAndWatchdogDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	h := observed(t)
	h.launch(t, "net-0")
	<-h.watch(t, operator(), interfaces.MonitorParameters{}).events // the sidecar is known
	set := h.core.policy.Load()
	done := make(chan struct{})
	go func() {
		defer close(done)
		var both sync.WaitGroup
		both.Go(func() {
			for range 20_000 {
				h.core.Alive()
			}
		})
		both.Go(func() {
			for range 20_000 {
				h.core.SetPolicy(set) // looks at all sidecars again
			}
		})
		both.Wait()
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("they wait for each other")
	}
}
