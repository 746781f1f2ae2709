package events

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
)

// at returns a sidecar in a state; invocation "" is one that has none yet.
func at(state interfaces.SidecarState, invocation string, restarts int64) *interfaces.Sidecar {
	s := &interfaces.Sidecar{ID: "a.p.0123456789ab", Runtime: interfaces.Runtime{State: state, Restarts: restarts}}
	if invocation != "" {
		s.Runtime.InvocationID = &invocation
	}
	return s
}

func TestMonitorTransition(t *testing.T) {
	t.Parallel()
	const (
		starting, ready  = interfaces.StateStarting, interfaces.StateReady
		stopping, failed = interfaces.StateStopping, interfaces.StateFailed
		eStarted, eReady = interfaces.EventStarted, interfaces.EventReady
		eChanged         = interfaces.EventChanged
		eStopped         = interfaces.EventStopped
		eFailed          = interfaces.EventFailed
		restarting       = interfaces.StateRestarting
		eRestarting      = interfaces.EventRestarting
	)
	other := at(ready, "a", 0)
	other.Runtime.ImageOutdated = true
	tests := map[string]struct {
		before, after *interfaces.Sidecar
		want          []interfaces.EventKind
	}{
		"nothing":               {nil, nil, nil},
		"queued":                {nil, at(starting, "", 0), kinds(eStarted)},
		"begun":                 {at(starting, "", 0), at(starting, "a", 0), kinds(eChanged)},
		"ready":                 {at(starting, "a", 0), at(ready, "a", 0), kinds(eReady)},
		"ready at the first":    {nil, at(ready, "a", 0), kinds(eStarted, eReady)},
		"failed at the first":   {nil, at(failed, "a", 0), kinds(eStarted, eFailed)},
		"stopping at the first": {nil, at(stopping, "a", 0), kinds(eStarted, eChanged)},
		"start failed":          {at(starting, "a", 0), at(failed, "a", 0), kinds(eFailed)},
		"died":                  {at(ready, "a", 0), at(failed, "a", 0), kinds(eFailed)},
		"stopping":              {at(ready, "a", 0), at(stopping, "a", 0), kinds(eChanged)},
		"gone":                  {at(stopping, "a", 0), nil, kinds(eStopped)},
		"failure removed":       {at(failed, "a", 0), nil, kinds(eStopped)},
		"the same":              {at(ready, "a", 0), at(ready, "a", 0), nil},
		"another detail":        {at(ready, "a", 0), other, kinds(eChanged)},
		"waits for a restart":   {at(stopping, "a", 0), at(restarting, "a", 0), kinds(eRestarting)},
		"waits at the first":    {nil, at(restarting, "a", 0), kinds(eStarted, eRestarting)},
		"restart begun":         {at(restarting, "a", 0), at(starting, "b", 1), kinds(eStarted)},
		"restart queued":        {at(restarting, "a", 0), at(restarting, "a", 1), kinds(eChanged)},
		"restart failed":        {at(restarting, "a", 0), at(restarting, "b", 1), kinds(eStarted, eRestarting)},
		"restarts used up":      {at(restarting, "a", 5), at(failed, "a", 6), kinds(eFailed)},
		"stopped meanwhile":     {at(restarting, "a", 1), nil, kinds(eStopped)},
		"replaced meanwhile":    {at(restarting, "a", 1), at(starting, "b", 0), kinds(eStopped, eStarted)},
		"restarted at once":     {at(ready, "a", 0), at(ready, "b", 1), kinds(eStarted, eReady)},
		"replaced at once":      {at(ready, "a", 0), at(ready, "b", 0), kinds(eStopped, eStarted, eReady)},
		"replaced, queued":      {at(failed, "a", 3), at(starting, "", 0), kinds(eStopped, eStarted)},
		"replaced, starting":    {at(failed, "a", 3), at(starting, "b", 0), kinds(eStopped, eStarted)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if d := cmp.Diff(test.want, transition(test.before, test.after)); d != "" {
				t.Errorf("events (-want +got):\n%s", d)
			}
		})
	}
}

func TestMetricsRestartsBetweenLooks(t *testing.T) {
	t.Parallel()
	const ready = interfaces.StateReady
	for name, test := range map[string]struct {
		before, after *interfaces.Sidecar
		want          int64
	}{
		"at the first":             {nil, at(ready, "a", 5), 0},
		"the same":                 {at(ready, "a", 5), at(ready, "a", 5), 0},
		"waits for a restart":      {at(ready, "a", 0), at(interfaces.StateRestarting, "a", 1), 1},
		"restarted unseen":         {at(ready, "a", 1), at(ready, "b", 4), 3},
		"restarts used up":         {at(ready, "a", 4), at(interfaces.StateFailed, "b", 6), 2},
		"gone":                     {at(ready, "a", 5), nil, 0},
		"replaced by another unit": {at(ready, "a", 5), at(ready, "b", 0), 0},
	} {
		if got := restartsBetween(test.before, test.after); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

func kinds(k ...interfaces.EventKind) []interfaces.EventKind { return k }
