package netns

import (
	"fmt"
	"os"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// identity tells one namespace from all others while it exists: the device and
// inode numbers of its file (namespaces(7)).
type identity struct{ device, inode uint64 }

func identify(f *os.File) (identity, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return identity{}, fmt.Errorf("identifying the namespace %s: %v", f.Name(), err)
	}
	return identity{st.Dev, st.Ino}, nil
}

// Same reports whether a and b are files of the same namespace.
func Same(a, b *os.File) (bool, error) {
	first, err := identify(a)
	if err != nil {
		return false, err
	}
	second, err := identify(b)
	return err == nil && first == second, err
}

// IsHost reports whether f is the host's own network namespace. It needs
// CAP_SYS_PTRACE to look at process 1; when it cannot look, it fails.
func (d Directory) IsHost(f *os.File) (bool, error) {
	if _, err := identify(f); err != nil {
		return false, err // Equal would take a failure for "another one"
	}
	host, err := netns.GetFromPath(d.host())
	if err != nil {
		return false, fmt.Errorf("identifying the host's network namespace, %s: %v", d.host(), err)
	}
	defer host.Close()
	return netns.NsHandle(f.Fd()).Equal(host), nil
}
