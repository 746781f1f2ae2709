package service

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/systemd"
)

// forgotten is the state of a sidecar without a unit.
const forgotten interfaces.SidecarState = ""

// tidied is a host whose failed sidecars are kept for an hour.
func tidied(t *testing.T) *fakeHost {
	t.Helper()
	h := observed(t)
	h.core.KeepFailed = time.Hour
	go h.core.Tidy(t.Context())
	return h
}

// fail ends a sidecar's process with an exit code.
func (h *fakeHost) fail(t *testing.T, network string) {
	t.Helper()
	h.launch(t, network)
	h.units.Exit(dnsmasqID(network).Unit(), 1)
	h.units.Update(dnsmasqID(network).Unit(), func(u *systemd.Unit) { u.ExitedUSec = uint64(time.Now().UnixMicro()) })
}

func (h *fakeHost) stateOf(t *testing.T, network string) interfaces.SidecarState {
	t.Helper()
	all, err := h.core.List(t.Context(), operator(), interfaces.ListParameters{ID: new(dnsmasqID(network).String())})
	if err != nil {
		return forgotten
	}
	return all[0].Runtime.State
}

func TestTidyRemovesOldFailures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := tidied(t)
		h.launch(t, "net-0")
		h.fail(t, "net-1")
		time.Sleep(50 * time.Minute)
		h.fail(t, "net-2")
		diff(t, "before the hour", interfaces.StateFailed, h.stateOf(t, "net-1"))
		time.Sleep(15 * time.Minute)
		diff(t, "after the hour", forgotten, h.stateOf(t, "net-1"))
		diff(t, "a younger one", interfaces.StateFailed, h.stateOf(t, "net-2"))
		diff(t, "one that runs", interfaces.StateReady, h.stateOf(t, "net-0"))
	})
}

// TestTidyKeepsTheNewestFailures: an agent whose launches all fail does not fill systemd.
func TestTidyKeepsTheNewestFailures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := tidied(t)
		for i := range maxFailed + 2 {
			h.fail(t, fmt.Sprint("net-", i))
			time.Sleep(time.Second)
		}
		time.Sleep(2 * tidyPause)
		for i, want := range map[int]interfaces.SidecarState{0: forgotten, 1: forgotten, 2: interfaces.StateFailed, maxFailed + 1: interfaces.StateFailed} {
			diff(t, fmt.Sprint("net-", i), want, h.stateOf(t, fmt.Sprint("net-", i)))
		}
	})
}

func TestTidySweepsAtOnceAndEveryHour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := tidied(t)
		for _, want := range []int{1, 1, 2} {
			time.Sleep(25 * time.Minute)
			diff(t, "sweeps", want, h.units.Starts(sweepUnit))
		}
	})
}
