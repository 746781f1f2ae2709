package service

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/polkit"
	"tripleo.io/sidecar/service/systemd"
)

// told has polkit let everybody in but about the namespaces in denied, and tells which
// namespaces it was told.
func (h *fakeHost) told(denied ...string) func() []string {
	var mu sync.Mutex
	var told []string
	h.core.Authority = &polkit.Fake{Answer: func(_ context.Context, r polkit.Request) (polkit.Verdict, error) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, r.Details["network-namespace"])
		if slices.Contains(denied, r.Details["network-namespace"]) {
			return polkit.Denied, nil
		}
		return polkit.Authorised, nil
	}}
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(told)
	}
}

// TestHardeningStopByOneWhomPolkitLetsIn shows that such a one ends launches where
// polkit was told that they are, queued or under way.
func TestHardeningStopByOneWhomPolkitLetsIn(t *testing.T) {
	t.Parallel()
	for name, queued := range map[string]bool{"queued": true, "under way": false} {
		h := newFakeHost(t)
		told := h.told()
		if queued {
			for range 3 {
				take(t, h.core.starts, "neutron-dhcp")
			}
		}
		h.gated(t, false)
		launch := h.launching(t, dnsmasqFor("net-1"))
		if queued {
			h.inRow(t, 1)
		} else {
			h.begun(t, 1)
		}
		ended(t, name+": stop", h.stopping(t, somebody()), nil)
		ended(t, name+": launch", launch, interfaces.ErrLaunchStopped)
		diff(t, name+": namespaces that polkit was told", []string{"qdhcp-net-1"}, told())
	}
}

// TestHardeningStopWaitsForALaunchElsewhere has a sidecar in one namespace, and a launch
// of it in another one: who may stop it in the first one does not end the launch, and
// polkit is asked about what has come of it.
func TestHardeningStopWaitsForALaunchElsewhere(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		denied []string
		want   error
	}{
		"allowed there": {nil, nil},
		"denied there":  {[]string{"qdhcp-net-2"}, interfaces.ErrPermissionDenied},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newFakeHost(t)
			h.launched(t)
			told := h.told(c.denied...)
			for range 3 {
				take(t, h.core.starts, "neutron-dhcp")
			}
			launch := h.launching(t, in(dnsmasqFor("net-1"), "qdhcp-net-2"))
			h.inRow(t, 1)
			stop := h.stopping(t, somebody())
			h.inRow(t, 2)
			h.core.starts.Release("neutron-dhcp", 1)
			ended(t, "launch", launch, nil)
			ended(t, "stop", stop, c.want)
			diff(t, "namespaces that polkit was told", []string{"qdhcp-net-1", "qdhcp-net-2"}, told())
			_, err := h.core.List(t.Context(), dhcpAgent(), interfaces.ListParameters{})
			diff(t, "it is gone", c.want == nil, errors.Is(err, interfaces.ErrNoSuchSidecar))
		})
	}
}

// TestHardeningStopAtAnyMoment launches and stops two sidecars from many sides. Whatever
// meets whatever, each launch is answered with a sidecar or with the fact that it was
// stopped, and nothing is left in the end.
func TestHardeningStopAtAnyMoment(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	delayed := systemd.Outcome{Delay: time.Millisecond}
	h.units.OnStart = always(delayed)
	h.units.OnStop = func(systemd.Unit) systemd.Outcome { return delayed }
	var all sync.WaitGroup
	for i := range 24 {
		network := []string{"net-1", "net-2"}[i%2]
		all.Go(func() {
			for range 40 {
				time.Sleep(rand.N(3 * time.Millisecond))
				if i%3 == 0 {
					_, err := h.core.Stop(t.Context(), operator(), interfaces.StopParameters{ID: dnsmasqID(network).String()})
					if err != nil && !errors.Is(err, interfaces.ErrNoSuchSidecar) {
						t.Errorf("stop: %v", err)
					}
					continue
				}
				p := dnsmasqFor(network)
				p.Mode = &interfaces.LaunchModes[[]int{0, 2, 3}[i%3]]
				if _, err := h.core.Launch(t.Context(), dhcpAgent(), p); err != nil && !errors.Is(err, interfaces.ErrLaunchStopped) {
					t.Errorf("launch: %v", err)
				}
			}
		})
	}
	all.Wait()
	for _, network := range []string{"net-1", "net-2"} {
		_, err := h.core.Stop(t.Context(), operator(), interfaces.StopParameters{ID: dnsmasqID(network).String()})
		if err != nil && !errors.Is(err, interfaces.ErrNoSuchSidecar) {
			t.Error(err)
		}
	}
	h.noUnits(t)
}
