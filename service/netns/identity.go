package netns

import (
	"fmt"
	"os"

	"github.com/vishvananda/netns"
)

// identity tells one namespace from all others while it exists: the device and
// inode numbers of its file (namespaces(7)).
type identity string

// identify never takes a failure for a namespace of its own: two unknown ones
// would be equal.
func identify(f *os.File) (identity, error) {
	id := netns.NsHandle(f.Fd()).UniqueId()
	if id == netns.None().UniqueId() || id == "NS(unknown)" {
		return "", fmt.Errorf("identifying the namespace %s: fstat fails", f.Name())
	}
	return identity(id), nil
}

// IsHost reports whether f is the host's own network namespace; see
// [Directory.IsHost].
func IsHost(f *os.File) (bool, error) { return Directory{}.IsHost(f) }

// IsHost reports whether f is the host's own network namespace. It needs
// CAP_SYS_PTRACE to look at process 1; when it cannot look, it fails.
func (d Directory) IsHost(f *os.File) (bool, error) {
	got, err := identify(f)
	if err != nil {
		return false, err
	}
	path := d.Host
	if path == "" {
		path = DefaultHost
	}
	host, err := os.Open(path)
	if err != nil {
		return false, fmt.Errorf("identifying the host's network namespace: %v", err)
	}
	defer host.Close()
	want, err := identify(host)
	return got == want, err
}
