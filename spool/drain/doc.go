// Package drain is the host's side of a spool: it takes the requests that an agent
// has handed in, carries them out through the agent's own socket, and leaves their
// results. It decides nothing: what the socket refuses is refused here.
//
// The layout of a spool's directory and what a request is are in package spool.
//
// # Nothing is believed
//
// All that lies in requests is written by an agent, and if that runs as root and
// has the whole directory, so may be all the rest. Therefore
//
//   - every name is opened beneath the spool's directory, without links and without
//     leaving its file system (openat2(2)), and first in a way that does nothing to
//     what it names (O_PATH): a fifo does not block, a device is not touched.
//   - a request is claimed by renaming it into claimed, and only then looked at: its
//     name cannot come to mean another file any more. It must be a regular file
//     with one name, of the spool's user or of root, and not be larger than a call
//     may be. It is read once; its writer may have it open still.
//   - its JSON is decoded strictly: unknown and repeated members are refused.
//   - what is no request is moved to refused, with a file beside it that says why,
//     and if its name is that of a request, whoever waits for it hears the same.
//   - what can be neither claimed nor moved stays, and the others go on. The drain
//     then does not end, but looks again from time to time: systemd would start it
//     anew at once for as long as the directory is not empty.
//
// # Nothing is lost, nothing is done twice
//
// The drain can be killed at any moment. A request then lies in requests/new, from
// where it is claimed by the next drain, or in claimed. Of one in claimed nobody
// knows whether it was asked for. If its result is there, it is done. Otherwise a
// launch is asked for with the mode keep: the sidecar that this answers is the
// answer if its start began after the request was claimed (ctime), and if not, or
// if something else runs there, the request is carried out as it was written.
// The other methods are repeated: what is stopped stays stopped, a signal may
// arrive twice.
package drain
