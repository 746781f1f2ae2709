package service

import (
	"reflect"

	"tripleo.io/sidecar/interfaces"
)

// transition says what happened to a sidecar that was found as after and was last
// seen as before; nil: not there. What happens between two looks is not seen, but
// it is told as far as it follows: whatever is ready has been started, and what
// runs under another invocation is not what ran before.
func transition(before, after *interfaces.Sidecar) []interfaces.EventKind {
	switch {
	case before == nil && after == nil:
		return nil
	case before == nil:
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

// begun is the begin of an invocation, and what has become of it by now.
func begun(s *interfaces.Sidecar) []interfaces.EventKind {
	if s.Runtime.State == interfaces.StateStarting {
		return []interfaces.EventKind{interfaces.EventStarted}
	}
	return []interfaces.EventKind{interfaces.EventStarted, arrival(s.Runtime.State)}
}

// arrival is the event of coming into a state within one invocation. A sidecar that
// waits for systemd to restart it is starting, but its start has not begun.
func arrival(s interfaces.SidecarState) interfaces.EventKind {
	switch s {
	case interfaces.StateReady:
		return interfaces.EventReady
	case interfaces.StateFailed:
		return interfaces.EventFailed
	}
	return interfaces.EventChanged
}

// restarted reports whether the invocation is another one. A unit that waits for
// its first start has none yet, and one that had one keeps it until the next.
func restarted(before, after *interfaces.Runtime) bool {
	return before.InvocationID != nil && (after.InvocationID == nil || *before.InvocationID != *after.InvocationID)
}

// replaced reports whether somebody else than systemd began another invocation:
// systemd counts its own restarts.
func replaced(before, after *interfaces.Runtime) bool {
	return restarted(before, after) && after.Restarts <= before.Restarts
}
