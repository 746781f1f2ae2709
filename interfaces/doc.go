// Package interfaces is the contract of the service: the varlink interface
// io.tripleo.Sidecar, the Go types of its parameters, and the one table of its
// errors. It imports nothing of this project; every transport, client and tool
// uses its types.
//
// A new method needs a written reason here:
//
//   - Launch, Stop, Signal: an agent outside a container does these itself.
//   - Explain: a caller understands a refusal without trial and error, and a
//     reviewer sees a unit before it runs.
//   - List, ListProfiles: an operator sees what runs, and what could run.
//   - Monitor: a program that acts on a sidecar's end or readiness would otherwise
//     poll List, and miss sidecars that start and end in between.
//   - ReadLog: an agent, and an operator whom polkit allows to inspect sidecars, cannot read
//     the host's journal, and must not see what others log there.
//
// usage is a parameter of List and not a method, because it needs the same selectors, the same
// authorisation and the same answer. It must be asked for, because each stand-in lists every 5 s,
// and a List reads no other files.
//
// The .varlink file documents the fields; a test compares the Go types with it.
package interfaces

import _ "embed"

// Name is the name of the varlink interface.
const Name = "io.tripleo.Sidecar"

// Description is the text of the varlink interface, as
// org.varlink.service.GetInterfaceDescription returns it.
//
//go:embed io.tripleo.Sidecar.varlink
var Description string
