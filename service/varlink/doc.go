// Package varlink carries the service over unix sockets: it accepts connections, asks the
// kernel who the peer is, reads frames, checks and decodes them strictly, calls a method's
// handler, and writes its answers. Only Sidecars, the table of methods, knows the core;
// package interfaces has the types of parameters and the table of errors.
//
// Every byte of a peer may be hostile:
//
//   - A message ends with a NUL byte and has at most Limits.MessageBytes; once
//     begun it must be complete within Limits.ReadTimeout.
//   - A frame that is not a varlink call (unknown or repeated key, wrong type, not
//     JSON, not UTF-8) ends its connection, as in systemd's implementation.
//   - Wrong parameters are answered with InvalidParameter, which names the field and
//     says what would be right.
//   - The number of connections is limited: for each agent, for all agents, for each
//     user of the host's socket, and for all users there but root. An agent's callers
//     over the agent's limit wait in the kernel's queue, and its idle connections are
//     closed to make room; connections over any other limit are closed.
//   - A handler that panics costs its own connection only.
//
// Calls of one connection are handled one after the other, in order; calls of
// different connections at the same time. The context of a call ends when its peer closes
// its socket (POLLHUP, poll(2)); a call whose peer has left before its turn is not begun. A
// peer that has only shut down its writing side (POLLRDHUP alone) still gets its answers,
// as from systemd: printf | socat needs that. A oneway call is carried out even if its
// sender has left.
//
// The transport sets no limit to how long a call takes: a monitor may last for
// days, and the core has its own deadlines. Upgraded connections and file
// descriptors are out of scope.
//
// The package also makes the sockets (Bind) and keeps them over a restart of the
// daemon in systemd's file descriptor store (FDStore).
package varlink
