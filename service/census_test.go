package service

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/launcher"
	"tripleo.io/sidecar/service/systemd"
)

// TestMetricsCensus: it is what the events know, without a call to systemd; an image whose name
// stands for another one is seen at once. Restarts are told, not counted.
func TestMetricsCensus(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHost(t)
		if c := h.core.Census(); c.Synchronized || len(c.Sidecars) > 0 {
			t.Errorf("before the first look: %+v", c)
		}
		restarts := map[interfaces.ID]int64{}
		h.core.Restarted = func(id interfaces.ID, times int64) { restarts[id] += times }
		var quiet atomic.Bool
		h.units.Before = func(operation, _ string) error {
			if quiet.Load() {
				t.Errorf("a census calls %s", operation)
			}
			return nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			h.core.Observe(ctx)
		}()
		const one, two = "0000000000000000000000000000000000000000000000000000000000000001", "0000000000000000000000000000000000000000000000000000000000000002"
		h.units.OnStart = func(string, []systemd.Property) systemd.Outcome {
			return systemd.ReadyAs(launcher.FormatStatus(4242, one))
		}
		reply, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor("net-1"))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // of the bubble
		quiet.Store(true)
		id, _ := interfaces.ParseID(reply.Sidecar.ID)
		want := Census{
			Synchronized: true,
			Sidecars:     map[interfaces.ID]Counted{id: {State: interfaces.StateReady}},
			Queues:       []Queue{{Name: "starts", Slots: 4}, {Name: "stops", Slots: 8}, {Name: "lists", Slots: 4}},
		}
		if d := cmp.Diff(want, h.core.Census()); d != "" {
			t.Errorf("with a sidecar (-want +got):\n%s", d)
		}
		h.images.Store(&map[string]string{reply.Sidecar.Runtime.Image: two})
		want.Sidecars[id] = Counted{State: interfaces.StateReady, Outdated: true}
		if d := cmp.Diff(want, h.core.Census()); d != "" {
			t.Errorf("with another image (-want +got):\n%s", d)
		}
		quiet.Store(false)
		h.units.Update(id.Unit(), func(u *systemd.Unit) { u.NRestarts += 3 })
		time.Sleep(time.Second)
		synctest.Wait()
		if restarts[id] != 3 {
			t.Errorf("told %d restarts, want 3", restarts[id])
		}
		h.units.Exit(id.Unit(), 1) // recycle does not touch it, and images does not count it
		time.Sleep(time.Second)
		want.Sidecars[id] = Counted{State: interfaces.StateFailed}
		if d := cmp.Diff(want, h.core.Census()); d != "" {
			t.Errorf("failed (-want +got):\n%s", d)
		}
		cancel()
		<-done
	})
}
