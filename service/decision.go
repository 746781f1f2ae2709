package service

import "tripleo.io/sidecar/interfaces"

// Decision is one answer to somebody who asked for something; the journal keeps
// them all.
type Decision struct {
	Caller    Caller
	Method    string // of the interface
	Agent     string
	Profile   string
	SidecarID string
	Err       error // nil: allowed
}

// Allowed reports whether the caller got what it asked for, as far as the
// service decides. A process that could not be started was allowed to.
func (d Decision) Allowed() bool {
	row, _, ok := interfaces.ToWire(d.Err)
	if d.Err == nil || !ok {
		return d.Err == nil
	}
	return row.Err == interfaces.ErrLaunchFailed || row.Err == interfaces.ErrNotReady
}
