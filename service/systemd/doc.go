// Package systemd starts, stops and watches transient service units over D-Bus.
// It knows nothing of sidecars, and imports only internal/bus.
//
// It promises:
//
//   - What it returns was read from systemd. Signals are hints to look again, and
//     they count only if systemd itself sent them: any user of the bus may send
//     signals to any other.
//   - Every call and every wait ends. A lost signal costs at most a second.
//   - A unit is never started twice: when an answer was lost, the unit is read
//     before anything is tried again.
//   - A restart of the bus is waited out by whatever only reads; whatever changes
//     something says [ErrDisconnected] when it cannot know what became of it.
//
// Out of scope: units that are not services, unit files, enabling, user managers,
// and judging whether a unit is ready; the unit's own Type= does that.
//
// [Fake] is a model of all this in memory, for the tests of the packages above.
package systemd
