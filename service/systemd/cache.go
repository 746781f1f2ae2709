package systemd

import (
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	// maxAge is how long an entry is used if no change of its unit is signalled. A List
	// reads at most maxOld of the units again that have reached it: a thousand at once
	// take systemd a second.
	maxAge = time.Minute
	maxOld = 16
	// maxUnused is how long an entry is kept that no List has used.
	maxUnused = time.Hour
)

// cache keeps the units that were read, for List, which gets the states of all units in one
// call and takes the details from here.
//
// An entry is as new as the listing it is used with: systemd sends PropertiesChanged for
// every change of a unit, the bus keeps the order of one sender's messages, and the
// connection's reader handles signals before any reply behind them. The exception are
// changes that systemd made and had not signalled when it answered the listing, because it
// collects them until the end of the current turn of its event loop. A change of state in
// that turn shows in the listing, and then the entry is not used. So only a detail without
// a change of state (a status text) can be old, by a few milliseconds. Changes made through
// this connection are noted by touch before their caller returns.
//
// A read that a change overtakes is not kept: begin counts, store compares.
type cache struct {
	mu      sync.Mutex
	live    bool // systemd signals changes to this connection
	entries map[dbus.ObjectPath]*entry
}

type entry struct {
	unit    Unit
	valid   bool
	changes uint64
	read    time.Time
	used    time.Time
}

// reading is a read of a unit that is under way.
type reading struct {
	path    dbus.ObjectPath
	entry   *entry // nil if the read is not kept
	changes uint64
}

// reset forgets everything. Only a live cache keeps reads.
func (c *cache) reset(live bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.live = live
	c.entries = map[dbus.ObjectPath]*entry{}
}

// clear forgets everything, and keeps reads if it did before.
func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries = map[dbus.ObjectPath]*entry{}
}

// begin must be called before a unit is read for store.
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

// store keeps the unit that was read, unless it has changed or was forgotten meanwhile.
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
		r.entry.unit, r.entry.valid, r.entry.read, r.entry.used = u.listed(), true, now, now
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

// remove says that systemd has removed a unit.
func (c *cache) remove(path dbus.ObjectPath) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.entries, path)
}

// find returns the units of a listing that need not be read, and the others.
func (c *cache) find(rows []row, now time.Time) (units []Unit, unknown []row) {
	c.mu.Lock()
	defer c.mu.Unlock()
	units = make([]Unit, 0, len(rows))
	old := 0
	for _, row := range rows {
		e := c.entries[row.path]
		if !e.fits(row) {
			unknown = append(unknown, row)
			continue
		}
		e.used = now
		if now.Sub(e.read) > maxAge && old < maxOld {
			old++
			unknown = append(unknown, row)
			continue
		}
		units = append(units, e.unit)
	}
	c.expire(now)
	return units, unknown
}

// fits reports whether the entry is valid and has the states of the listing.
func (e *entry) fits(row row) bool {
	return e != nil && e.valid &&
		e.unit.Name == row.name && e.unit.LoadState == row.load && e.unit.ActiveState == row.active &&
		e.unit.SubState == row.sub && e.unit.JobID == row.job
}

// expire removes entries that have not been used for maxUnused. c.mu must be held.
func (c *cache) expire(now time.Time) {
	for path, e := range c.entries {
		if e.valid && now.Sub(e.used) > maxUnused {
			delete(c.entries, path)
		}
	}
}
