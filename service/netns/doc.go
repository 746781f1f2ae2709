// Package netns names, checks and identifies network namespaces.
//
// A named network namespace is a file below /run/netns that the namespace is
// bind-mounted on (ip-netns(8)). That directory is shared with agents, so
// everything in it is hostile: a name is checked by its characters, opened
// without following any link, and then asked what it is, before anybody joins
// it. What is opened stays what it was, whatever happens to the name later.
//
// Out of scope: making, entering and deleting namespaces, and deciding who may
// use which one.
package netns
