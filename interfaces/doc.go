// Package interfaces is the contract of the service: the varlink interface
// io.tripleo.Sidecar, the Go types of its parameters, and the one table of its
// errors. It imports nothing of this project, and every transport, client and
// tool speaks in its types.
//
// A new method needs a written reason here:
//
//   - Launch, Stop, Signal: what an agent did itself before it was put into a
//     container.
//   - Explain: a refusal must be understood without trial and error, and a
//     reviewer wants to see a unit before it runs.
//   - List, ListProfiles: what runs, and what could.
//   - Monitor: whoever has to act on a sidecar's end or readiness would ask List
//     without pause otherwise, and miss what comes and goes in between.
//
// The field comments are in the .varlink file; a test holds the Go types to it.
package interfaces

import _ "embed"

// Name is the name of the varlink interface.
const Name = "io.tripleo.Sidecar"

// Description is the text of the varlink interface, as
// org.varlink.service.GetInterfaceDescription returns it.
//
//go:embed io.tripleo.Sidecar.varlink
var Description string
