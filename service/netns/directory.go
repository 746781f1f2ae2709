package netns

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const (
	// DefaultPath is where ip-netns(8) keeps named network namespaces.
	DefaultPath = "/run/netns"
	// DefaultHost is the host's own network namespace, that of process 1.
	DefaultHost = "/proc/1/ns/net"
)

// Directory is a directory of named network namespaces. The zero value is the
// host's. Both fields exist for tests.
type Directory struct {
	Path string // absolute; "" means DefaultPath
	Host string // the namespace that is never let through; "" means DefaultHost
}

// Open opens the network namespace called name. The file can be joined with
// setns(2), bind-mounted, and compared. It is refused when the name is not
// valid, is a link or anything but a mounted network namespace, or is the
// host's own namespace. The error says what to do; it is [os.ErrNotExist] when
// nothing has that name.
func (d Directory) Open(name string) (*os.File, error) {
	if err := ValidName(name); err != nil {
		return nil, err
	}
	dir, err := d.open()
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	f, err := d.openNamespace(dir, name)
	if err != nil {
		return nil, fmt.Errorf("network namespace %q: %w", name, err)
	}
	return f, nil
}

// Check returns the error that [Directory.Open] would return.
func (d Directory) Check(name string) error {
	f, err := d.Open(name)
	if err != nil {
		return err
	}
	return f.Close()
}

func (d Directory) path() string {
	if d.Path == "" {
		return DefaultPath
	}
	return d.Path
}

func (d Directory) host() string {
	if d.Host == "" {
		return DefaultHost
	}
	return d.Host
}

func (d Directory) open() (*os.File, error) {
	path := d.path()
	fd, err := Openat2(unix.AT_FDCWD, path, unix.O_RDONLY|unix.O_DIRECTORY, unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return nil, fmt.Errorf("directory of network namespaces %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// OpenHost opens the host's own network namespace.
func (d Directory) OpenHost() (*os.File, error) { return os.Open(d.host()) }

// Each opens every named network namespace that there is, and calls do with it. It
// ends with the first error of do. Like [Directory.NameOf] it looks for names among the
// mounts, and does not read the directory.
func (d Directory) Each(do func(name string, f *os.File) error) error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for _, name := range d.names(string(mounts), "net:[") {
		f, err := d.Open(name)
		if err != nil {
			continue // not a namespace any more, or the host's
		}
		err = do(name, f)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
