// Package spool asks the service for side processes through files, for agents that
// must not hold a socket. It is the agent's side; the host's side is package
// spool/server and the program sidecar-spool.
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
// [DefaultDirectory]. It holds
//
//	requests/tmp   requests that are being written       the agent's, 0700
//	requests/new   requests that are complete            the agent's, 0700
//	claimed        requests that are being carried out   root's, 0700
//	results        answers                               root's, 0755
//	refused        entries that are not requests, and    root's, 0700
//	               the reasons
//
// Only requests needs to be writable in the container, and its two directories
// must be one mount, or a request could not be renamed from one to the other.
//
// # A request
//
// is one varlink call as JSON, {"method": …, "parameters": {…}}, of at most
// [MaxRequest] bytes, in a file NAME.json, NAME being 32 random hexadecimal
// digits. Its writer
//
//  1. makes requests/tmp/NAME.json, locks it with flock(2), writes and syncs it.
//     A file there that is not locked was left by a writer that died.
//  2. renames it to requests/new/NAME.json and syncs that directory. The rename
//     hands the request in: there is never half a request in requests/new.
//  3. waits for results/NAME.json, which is one varlink reply as JSON,
//     {"parameters": {…}} or {"error": …, "parameters": {…}}. It appears by a
//     rename too.
//  4. If it gives up, it removes requests/new/NAME.json. If that works, nothing
//     was done; if the file does not exist any more, the host has claimed it.
//
// The methods are Launch, List, Stop and Signal of io.tripleo.Sidecar. There is one
// reply to a request, so List answers {"parameters": {"sidecars": […]}} with all that
// match, at most [MaxResult] bytes. An empty list is not an error unless an ID was
// asked for.
//
// A request without networkNamespace means the host's own, and not the caller's:
// without a connection the service cannot tell the caller's.
//
// A request that is older than [MaxAge] is answered with an error and not carried
// out: nobody waits for it any more. Results are removed two minutes later.
//
// # Costs
//
// Each request costs two fsync(2), of the file and of the directory, and the start of
// sidecar-spool, unless it runs already. The directory is on /var and not on /run:
// an agent that fills it fills a disk, where a quota can limit it, and not the host's
// memory.
//
// # Out of scope
//
// Streams (more than one reply), the other methods, other transports.
package spool
