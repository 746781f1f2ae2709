package service

import (
	"sync"

	"tripleo.io/sidecar/service/systemd"
)

// maxRecords is how many records are kept, at some 2 kB each. Beyond it they are
// read anew now and then: units can go without our hearing of it.
const maxRecords = 8192

// records remembers what was read from units. A unit's record is as old as its
// invocation and does not change; reading it anew would be a third of the work
// of a List. The zero value is ready.
type records struct {
	mu    sync.Mutex
	units map[string]knownRecord // by unit name
}

type knownRecord struct {
	invocation string
	record     record
	ok         bool
}

// of returns the record of a unit. What it points to must not be changed.
func (r *records) of(u systemd.Unit) (record, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, seen := r.units[u.Name]
	if seen && known.invocation == u.InvocationID && u.InvocationID != "" {
		return known.record, known.ok
	}
	known = knownRecord{invocation: u.InvocationID}
	known.record, known.ok = recordOf(u)
	if r.units == nil || len(r.units) >= maxRecords {
		r.units = map[string]knownRecord{}
	}
	r.units[u.Name] = known
	return known.record, known.ok
}

// forget forgets a unit that has gone.
func (r *records) forget(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.units, name)
}
