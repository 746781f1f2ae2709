package main

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// namespaces is where network namespaces have names (ip-netns(8)), ownNamespace the
// one that this process is in, and firstNamespace that of the first process
// (namespaces(7)): of the agent's container, or of the host.
const (
	namespaces     = "/run/netns"
	ownNamespace   = "/proc/self/ns/net"
	firstNamespace = "/proc/1/ns/net"
)

// namespaceName returns the name in the directory of the network namespace that own
// leads to; nil if it has none, as the host's own. Of several names it returns the
// first. One without a name that is not that of the first process is an error: it
// was made where the service cannot see it. An agent that may not look at the host's
// first process does not learn that.
func namespaceName(directory, own, first string) (*string, error) {
	var want, other unix.Stat_t
	if err := unix.Stat(own, &want); err != nil {
		return nil, fmt.Errorf("%s: %w", own, err)
	}
	entries, err := os.ReadDir(directory)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	for _, entry := range entries {
		var st unix.Stat_t
		if unix.Lstat(filepath.Join(directory, entry.Name()), &st) == nil && st.Dev == want.Dev && st.Ino == want.Ino {
			name := entry.Name()
			return &name, nil
		}
	}
	if unix.Stat(first, &other) == nil && (other.Dev != want.Dev || other.Ino != want.Ino) {
		return nil, fmt.Errorf("the caller's network namespace has no name in %s: mount the host's there, shared (rshared)", directory)
	}
	return nil, nil
}
