// Package spool asks the service for side processes through files, for agents
// that may not even hold a socket. This is the agent's side of it; the host's
// side is package spool/drain and the program sidecar-spool.
//
//	c := &spool.Client{} // the default directory
//	sidecar, err := c.Launch(ctx, interfaces.LaunchParameters{…})
//
// A [Client] has the methods of package client that a shim needs, with the same
// signatures and the same errors of package interfaces, so that a program can use
// either behind one interface.
//
// # The directory
//
// Every agent that has a spool has a directory of its own on the host,
// /var/lib/sidecar/spool/AGENT, which is mounted into its container as
// [DefaultDirectory]. In it are
//
//	requests/tmp   requests that are being written       the agent's, 0700
//	requests/new   requests that are complete            the agent's, 0700
//	claimed        requests that are being carried out   root's, 0700
//	results        answers                               root's, 0755
//	refused        what was no request, and why          root's, 0700
//
// Only requests needs to be writable in the container, and its two directories
// have to be one mount, or a request could not be moved from one to the other.
//
// # A request
//
// is one varlink call as JSON, {"method": …, "parameters": {…}}, of at most
// [MaxRequest] bytes, in a file NAME.json, NAME being 32 random hexadecimal
// digits. Its writer
//
//  1. makes requests/tmp/NAME.json, locks it with flock(2), writes and syncs it.
//     A file there that nobody has locked was left by a writer that died.
//  2. renames it to requests/new/NAME.json and syncs that directory. The rename is
//     what hands it in: there is never half a request in requests/new.
//  3. waits for results/NAME.json, which is one varlink reply as JSON,
//     {"parameters": {…}} or {"error": …, "parameters": {…}}. It appears by a
//     rename too.
//  4. If it gives up, it removes requests/new/NAME.json. If that works, nothing
//     was done; if it is not there any more, the host has claimed it.
//
// The methods are Launch, List, Stop and Signal of io.tripleo.Sidecar. There is
// one reply to a request, so that of List is {"parameters": {"sidecars": […]}}
// with all that match, at most [MaxResult] bytes of it, and none is no error unless
// an ID was asked for.
//
// A request without networkNamespace means the host's own, and not the caller's:
// there is no connection that a caller could be told by.
//
// A request that is older than [MaxAge] is answered with an error and not carried
// out: nobody waits for it any more. Results are removed two minutes later.
//
// # What it costs
//
// Two fsync(2) for each request, that of the file and that of the directory, and
// the start of the program that drains the spool, unless it runs already. The
// directory is on /var and not on /run: what an agent fills it with is on disk,
// where a quota can hold it, and not in the host's memory.
//
// # Out of scope
//
// Streams (more than one reply), the other methods, other transports.
package spool
