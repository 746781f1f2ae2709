// Package varlink carries the service over unix sockets: it accepts, knows the
// peer, reads frames, checks and decodes them strictly, calls a method's
// handler, and writes its answers. It knows nothing of sidecars; the types of
// parameters and the table of errors are those of package interfaces.
//
// Everything that arrives is taken for hostile:
//
//   - A message ends with a NUL byte and has at most Limits.MessageBytes; once
//     begun it must be complete within Limits.ReadTimeout.
//   - A frame that is no varlink call (unknown or repeated key, wrong type, not
//     JSON, not UTF-8) ends its connection, as in systemd's implementation.
//   - Parameters that do not fit are answered with InvalidParameter, which names
//     the field and says what would be right.
//   - The number of connections is limited: for each agent, for all agents, for
//     each user of the host's socket, and for all of these but root. Over its own
//     limit an agent's callers wait in the kernel's queue, and its connections
//     that are idle are closed to make room; others who are over a limit are hung
//     up on. Nobody else notices.
//   - A handler that panics costs its own connection only.
//
// Calls of one connection are handled one after the other, in order; calls of
// different connections at the same time. The context of a call ends when its
// peer goes away, that is, when it has closed its socket (POLLHUP, poll(2)); a
// call of a peer that has left before it could begin is not begun. A peer that has
// only shut down its writing side (POLLRDHUP alone) still gets its answers: so
// does systemd, and so printf | socat works. A oneway call is carried out even if
// its sender has left.
//
// The transport sets no limit to how long a call takes: a monitor may last for
// days, and the core has its own deadlines. Upgraded connections and file
// descriptors are out of scope.
//
// The package also makes the sockets (Bind) and keeps them over a restart of the
// daemon in systemd's file descriptor store (FDStore).
package varlink
