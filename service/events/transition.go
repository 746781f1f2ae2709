package events

import (
	"reflect"

	"tripleo.io/sidecar/interfaces"
)

// transition returns the events of a sidecar between two looks; nil: it did not exist.
// Events that no look has seen are included if they follow: a sidecar that is ready has been
// started, and another invocation has replaced the one before.
func transition(before, after *interfaces.Sidecar) []interfaces.EventKind {
	switch {
	case before == nil && after == nil:
		return nil
	case before == nil && after.Runtime.State == interfaces.StateWaiting:
		return []interfaces.EventKind{interfaces.EventChanged}
	case before == nil, after != nil && begins(&before.Runtime, &after.Runtime):
		return begun(after)
	case after == nil:
		return []interfaces.EventKind{interfaces.EventStopped}
	case replaced(&before.Runtime, &after.Runtime):
		return append([]interfaces.EventKind{interfaces.EventStopped}, begun(after)...)
	case restarted(&before.Runtime, &after.Runtime):
		return begun(after)
	case before.Runtime.State != after.Runtime.State:
		return []interfaces.EventKind{arrival(after.Runtime.State)}
	case !reflect.DeepEqual(before, after):
		return []interfaces.EventKind{interfaces.EventChanged}
	}
	return nil
}

// begins reports whether a sidecar that has waited is started.
func begins(before, after *interfaces.Runtime) bool {
	return before.State == interfaces.StateWaiting && after.State != interfaces.StateWaiting
}

// begun is the begin of an invocation, and its state by now.
func begun(s *interfaces.Sidecar) []interfaces.EventKind {
	if s.Runtime.State == interfaces.StateStarting {
		return []interfaces.EventKind{interfaces.EventStarted}
	}
	return []interfaces.EventKind{interfaces.EventStarted, arrival(s.Runtime.State)}
}

// arrival is the event of a new state within one invocation.
func arrival(s interfaces.SidecarState) interfaces.EventKind {
	switch s {
	case interfaces.StateReady:
		return interfaces.EventReady
	case interfaces.StateFailed:
		return interfaces.EventFailed
	case interfaces.StateRestarting:
		return interfaces.EventRestarting
	}
	return interfaces.EventChanged
}

// restarted reports whether the invocation is another one. A unit has none before its first
// start, and keeps the last one until the next.
func restarted(before, after *interfaces.Runtime) bool {
	return before.InvocationID != nil && (after.InvocationID == nil || *before.InvocationID != *after.InvocationID)
}

// replaced reports whether something else than a restart by systemd, which systemd counts,
// began another invocation.
func replaced(before, after *interfaces.Runtime) bool {
	return restarted(before, after) && after.Restarts <= before.Restarts
}

// restartsBetween returns how often systemd has restarted a sidecar between two looks. Restarts
// before the first look are not known to be new; another unit of the same name begins at 0.
func restartsBetween(before, after *interfaces.Sidecar) int64 {
	if before == nil || after == nil {
		return 0
	}
	return max(0, after.Runtime.Restarts-before.Runtime.Restarts)
}
