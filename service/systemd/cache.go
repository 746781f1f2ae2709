package systemd

import (
	"slices"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
)

// maxAge is how long what was read may be answered without reading it again, even
// if nothing says that it changed.
const maxAge = time.Minute

// cache keeps what was last read of units, for List, which asks systemd for the
// states of all units in one call and takes the details from here.
//
// Why an answer from here is right: systemd sends PropertiesChanged for every
// change of a unit, the bus keeps the order of what one sender sends, and signals
// are handled in the goroutine that reads, before any reply that follows them. So
// an entry is as new as the listing it is used with, but for changes that systemd
// made and has not announced when it answered the listing: it collects them until
// the end of the current turn of its event loop. A change of state in that turn
// shows in the listing itself, and then the entry is not used. What remains is a
// detail without a change of state (a status text), that is a few milliseconds
// old. Changes made through this connection are noted by touch before their caller
// returns.
//
// A read that a change overtakes is not kept: begin counts, store compares.
type cache struct {
	mu      sync.Mutex
	live    bool // changes are being announced to us
	entries map[dbus.ObjectPath]*entry
}

type entry struct {
	unit    Unit
	valid   bool
	changes uint64
	read    time.Time
}

// reading is a read under way.
type reading struct {
	path    dbus.ObjectPath
	entry   *entry // nil if it is not to be kept
	changes uint64
}

// reset forgets everything. Nothing is kept until it is live.
func (c *cache) reset(live bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.live = live
	c.entries = map[dbus.ObjectPath]*entry{}
}

// clear forgets everything, and goes on as before.
func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries = map[dbus.ObjectPath]*entry{}
}

// begin must come before a unit is read that is to be stored.
func (c *cache) begin(path dbus.ObjectPath) reading {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.live {
		return reading{}
	}
	e := c.entries[path]
	if e == nil {
		e = &entry{}
		c.entries[path] = e
	}
	return reading{path: path, entry: e, changes: e.changes}
}

// store keeps what was read, unless it has changed or was forgotten meanwhile.
func (c *cache) store(r reading, u Unit, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.entry == nil || c.entries[r.path] != r.entry {
		return
	}
	if u.LoadState == "not-found" {
		delete(c.entries, r.path)
		return
	}
	if r.entry.changes == r.changes {
		u.Environment = slices.Clone(u.Environment) // the reader's is its own
		r.entry.unit, r.entry.valid, r.entry.read = u, true, now
	}
}

// touch says that a unit may have changed.
func (c *cache) touch(path dbus.ObjectPath) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[path]; e != nil {
		e.changes++
		e.valid = false
	}
}

// remove says that a unit is no more.
func (c *cache) remove(path dbus.ObjectPath) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.entries, path)
}

// lookup returns the details of a unit if they are known and fit the listing.
func (c *cache) lookup(row row) (Unit, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[row.path]
	if e == nil || !e.valid {
		return Unit{}, false
	}
	u := e.unit
	u.Environment = slices.Clone(u.Environment)
	fits := u.Name == row.name && u.LoadState == row.load && u.ActiveState == row.active &&
		u.SubState == row.sub && u.JobID == row.job
	return u, fits
}

// expire forgets what is too old.
func (c *cache) expire(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for path, e := range c.entries {
		if e.valid && now.Sub(e.read) > maxAge {
			delete(c.entries, path)
		}
	}
}
