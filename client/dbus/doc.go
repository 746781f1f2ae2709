// Package dbus is a client of the service over the system bus. It has the methods of package
// client, with the same parameters, answers and errors:
//
//	c, err := dbus.New("") // the system bus
//	…
//	sidecars, err := c.List(ctx, interfaces.ListParameters{})
//
// It is for root, and for users whom polkit authorises; it works on every kernel. Agents use
// their own socket and package client: no caller on the bus counts as an agent.
//
// # Promises
//
// The rules are the same as in package client: each call has its own connection, every call ends, and
// no call is repeated. If the service's name does not belong to root, no call is made.
//
// # Differences
//
// [Client.Monitor] gets signals, which carry only the state of a sidecar, and asks for the
// rest. So an event has the sidecar as it is a moment later. [Client.ReadLog] cannot follow.
//
// # Out of scope
//
// Buses other than those on this host's unix sockets, and the properties and objects of
// sidecars, for which there is List.
package dbus
