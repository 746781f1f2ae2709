// Package dbus asks the service for side processes over the system bus. It has the
// methods of package client, with the same parameters, answers and errors:
//
//	c, err := dbus.New("") // the system bus
//	…
//	sidecars, err := c.List(ctx, interfaces.ListParameters{})
//
// On the bus everybody may ask who is let in by polkit, on any kernel. Agents have
// a socket of their own, and use package client: on the bus nobody is an agent.
//
// # Promises
//
// They are those of package client: a connection for each call, no call without an
// end, none repeated. Whoever answers must be root's, or the call is not made.
//
// # What is different
//
// [Client.Monitor] hears signals, which tell of a sidecar no more than its state, and
// asks for the rest. So the sidecar in an event is as it was a moment later.
//
// # Out of scope
//
// Other buses than those of this host's unix sockets. The properties and objects of
// sidecars: what they tell List does, too.
package dbus
