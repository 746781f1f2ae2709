package main

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// namespaces is where network namespaces have names (ip-netns(8)), ownNamespace the
// one that this process is in (namespaces(7)).
const (
	namespaces   = "/run/netns"
	ownNamespace = "/proc/self/ns/net"
)

// namespaceName returns the name in the directory of the network namespace that own
// leads to; nil if it has none, as the host's own. Of
// several names it returns the first.
func namespaceName(directory, own string) (*string, error) {
	var want unix.Stat_t
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
	return nil, nil
}
