// Package service is the core: it decides what a caller may start, watch and
// stop, and does it through systemd. Every transport ends in the methods of
// [Core], and the caller is a parameter of each of them, so that none can forget
// to authorise.
//
// A call goes through the same steps everywhere: syntax, authorisation, policy
// (package policy, pure), plan (pure), effect (package systemd), answer. The
// order matters: a caller without rights learns nothing about what exists. Agents
// are held by their own policy, root by nobody; of all others polkit is asked.
//
// systemd is the only store. A unit carries what was asked for in its own
// environment, so a restarted daemon knows everything that the old one knew.
//
// Out of scope: what an image contains, how it came to the host, and whatever a
// network namespace needs before a process can use it.
package service
