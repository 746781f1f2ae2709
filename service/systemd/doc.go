// Package systemd starts, stops and watches transient service units over D-Bus. It knows
// nothing of sidecars.
//
// It promises:
//
//   - What it returns was read from systemd. Signals are hints to read again, and count
//     only if systemd sent them: any user of the bus may send signals to any other.
//   - Every call and every wait ends. A lost signal costs at most a second.
//   - A unit is never started twice: after a lost reply the unit is read before the start
//     is repeated.
//   - Calls that only read wait for the bus to come back. Calls that change something
//     return [ErrDisconnected] when their outcome is unknown.
//
// Out of scope: units that are not services, unit files, enabling, user managers, and
// whether a unit is ready, which its Type= decides.
//
// [Fake] is a model of systemd in memory, for tests of other packages.
package systemd
