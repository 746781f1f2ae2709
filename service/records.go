package service

import (
	"sync"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/engine"
	"tripleo.io/sidecar/service/systemd"
)

// maxRecords is how many records are kept, at some 2 kB each. Units can go without our
// hearing of it, so all are dropped beyond that, and read again.
const maxRecords = 8192

// record is what List needs of a unit's document.
type record struct {
	invocation string // the unit's, when it was read
	ok         bool   // the document could be read
	context    interfaces.Context
	image      string
	engine     engine.Engine
}

// records remembers the records of units. A unit's document is as old as its invocation and
// does not change; reading it every time would be a third of the work of a List. The zero
// value is ready.
type records struct {
	mu    sync.Mutex
	units map[string]record // by unit name
}

// of returns the record of a unit. What it points to must not be changed.
func (r *records) of(u systemd.Unit) record {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, seen := r.units[u.Name]
	if seen && known.invocation == u.InvocationID && u.InvocationID != "" {
		return known
	}
	known = recordOf(u)
	if r.units == nil || len(r.units) >= maxRecords {
		r.units = map[string]record{}
	}
	r.units[u.Name] = known
	return known
}

// recordOf reads the record of a unit. A unit that somebody else made under a sidecar's
// name, or that another version wrote, may have no document that is readable; its engine is
// taken for the default one.
func recordOf(u systemd.Unit) record {
	r := record{invocation: u.InvocationID}
	d, err := document.Decode(u.Environment)
	if err == nil {
		r.engine, err = engine.Of(d.Engine)
	}
	if err != nil {
		r.engine, _ = engine.Of(engine.Podman)
		return r
	}
	r.ok, r.context, r.image = true, d.Context, d.Image
	return r
}

// forget forgets a unit that has gone.
func (r *records) forget(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.units, name)
}
