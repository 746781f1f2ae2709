// Package dbus serves the core on the system bus: the twin of the varlink
// interface, for busctl, for scripts, and for people who are not root as far as
// polkit lets them.
//
// There is one object with the methods of the varlink interface, and one for every
// sidecar, with properties. Which objects, methods and properties there are is in
// one table, from which both the dispatcher and the introspection are made; names
// and types follow from the varlink contract (package dict).
//
// The dispatcher is our own, and not that of godbus, which starts a goroutine for
// every call without a limit and walks its map of objects without a lock. Nothing
// is exported at run time: a path is taken for a sidecar's by its form, and the
// core says whether there is one. Everybody on the bus may call, so that what comes
// in is hostile: it is bounded in size and number for each sender before it is
// decoded, and each call has a deadline and a recover of its own.
//
// Who calls is what the bus says of the sender. When a sender leaves the bus, its
// calls are cancelled.
//
// Signals go to everybody on the bus, and polkit cannot hold them back, so that
// they carry no more than systemd tells everybody anyway: which sidecars there are,
// and in which state. All else is asked for, and then polkit is asked.
//
// Out of scope: what a method means, and who may call it. That is the core's.
package dbus
