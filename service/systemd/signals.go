package systemd

import (
	"github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/internal/bus"
)

// matches are the match rules of a connection. The bus compares the sender with
// the owner of the name; signals sent straight to us need no rule and are dropped
// by the guard. systemd sends PropertiesChanged twice for each change, once for
// each interface, the Unit's last: see send_changed_signal in its dbus-unit.c. One
// is enough for us.
func matches() []string {
	const manager = "type='signal',sender='org.freedesktop.systemd1',path='/org/freedesktop/systemd1'," +
		"interface='org.freedesktop.systemd1.Manager',member="
	return []string{
		"type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus'," +
			"member='NameOwnerChanged',arg0='org.freedesktop.systemd1'",
		manager + "'JobRemoved'",
		manager + "'UnitRemoved'",
		manager + "'Reloading'",
		"type='signal',sender='org.freedesktop.systemd1',path_namespace='/org/freedesktop/systemd1/unit'," +
			"interface='org.freedesktop.DBus.Properties',member='PropertiesChanged'," +
			"arg0='org.freedesktop.systemd1.Unit'",
	}
}

// receiver handles the signals of one link. It is godbus's SignalHandler, not a
// channel, so that signals are done with before the reply behind them is seen: the
// cache relies on that. Nothing in it waits.
type receiver struct {
	conn *Conn
	link *link
}

// DeliverSignal implements dbus.SignalHandler. It runs in the connection's reader.
func (r *receiver) DeliverSignal(_, _ string, s *dbus.Signal) {
	if s.Sender == bus.Name {
		if s.Name == "org.freedesktop.DBus.NameOwnerChanged" {
			r.ownerChanged(s.Body)
		}
		return
	}
	if !r.link.trusts(s.Sender) {
		return
	}
	switch s.Name {
	case "org.freedesktop.systemd1.Manager.JobRemoved":
		r.jobRemoved(s.Body)
	case "org.freedesktop.systemd1.Manager.UnitRemoved":
		r.unitRemoved(s.Body)
	case "org.freedesktop.systemd1.Manager.Reloading":
		r.conn.cache.clear()
		r.conn.lookAgain()
	case "org.freedesktop.DBus.Properties.PropertiesChanged":
		r.conn.changed(s.Path)
	}
}

// ownerChanged has the body (name, old owner, new owner).
func (r *receiver) ownerChanged(body []any) {
	var name, before, owner string
	if dbus.Store(body, &name, &before, &owner) != nil || name != destination {
		return
	}
	r.link.setOwner(owner, true)
	r.conn.anew()
}

// jobRemoved has the body (number, job, unit, result).
func (r *receiver) jobRemoved(body []any) {
	var id uint32
	var path dbus.ObjectPath
	var unit, result string
	if dbus.Store(body, &id, &path, &unit, &result) != nil {
		return
	}
	r.conn.changed(unitPath(unit))
	r.conn.watches.ended(unit, id, result)
}

// unitRemoved has the body (name, object).
func (r *receiver) unitRemoved(body []any) {
	var name string
	var path dbus.ObjectPath
	if dbus.Store(body, &name, &path) != nil {
		return
	}
	r.conn.cache.remove(path)
	r.conn.changes.add(name)
}
