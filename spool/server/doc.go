// Package server is the host's side of a spool: it claims the requests that an agent
// has handed in, makes their calls over the agent's own socket, and leaves the
// results. It decides nothing: the service refuses, or carries out.
//
// The layout of a spool's directory and the form of a request are in package spool.
//
// # Nothing is trusted
//
// An agent writes everything in requests; one that runs as root and has the whole
// directory may have written the rest, too. Therefore
//
//   - every name is opened beneath the spool's directory, without links and without
//     leaving its file system (openat2(2)), and first with O_PATH, which does nothing
//     to the file: a fifo does not block, a device is not touched.
//   - a request is claimed by renaming it into claimed, and only then looked at: its
//     name cannot come to mean another file any more. It must be a regular file
//     with one name, of the spool's user or of root, and not larger than a call may
//     be. It is read once, because its writer may still have it open.
//   - its JSON is decoded strictly: unknown and repeated members are refused.
//   - an entry that is not a request is moved to refused, with the reason in a file
//     beside it. If its name is a request's, the reason is the answer, too.
//   - an entry that can be neither claimed nor moved stays, and the others go on. The
//     server then does not exit, but looks again from time to time: systemd would
//     start it again at once for as long as the directory is not empty.
//
// # Nothing is lost, nothing is done twice
//
// The server can be killed at any moment. A request then lies in requests/new, where
// the next server claims it, or in claimed, and its call may have been made. If its
// result exists, it is done. Otherwise a launch is repeated with client.LaunchAgain:
// a sidecar that was started after the request was claimed (ctime) is the answer.
// The other methods are repeated: a stopped sidecar stays stopped, a signal may
// arrive twice.
package server
