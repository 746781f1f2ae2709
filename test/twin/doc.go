// Package twin holds the one suite of behaviour over every transport: the core
// called directly, varlink, the Go client, the D-Bus manager and the D-Bus objects.
// The same request must get the same answer or the same error, leave the same
// entries in the journal, and put the same questions to polkit.
//
// The core under test has a systemd and a polkit in memory; sockets, the bus and the
// callers' users are real. So the tests need root, and dbus-daemon(1), which they
// start for themselves on a socket of their own. What depends on a real polkit is in
// package test.
package twin
