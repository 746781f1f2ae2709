package netns

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const (
	// DefaultPath is where ip-netns(8) keeps named network namespaces.
	DefaultPath = "/run/netns"
	// DefaultHost is the host's own network namespace, that of process 1.
	DefaultHost = "/proc/1/ns/net"

	// maxNames is how many names are looked through for one; a look takes about
	// 3 µs. namesAtOnce of them are in memory.
	maxNames    = 64 << 10
	namesAtOnce = 512
)

// Directory is a directory of named network namespaces. The zero value is the
// host's. Both fields exist for tests.
type Directory struct {
	Path string // absolute; "" means DefaultPath
	Host string // the namespace that is never let through; "" means DefaultHost
}

// Open opens the network namespace called name in [DefaultPath]; see
// [Directory.Open].
func Open(name string) (*os.File, error) { return Directory{}.Open(name) }

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

// NameOf returns the name of the network namespace f, and false when it has
// none. Of several names it returns the first in alphabetical order. The host's
// own namespace never has a name, whatever it is mounted on: ask [IsHost].
func (d Directory) NameOf(f *os.File) (string, bool, error) {
	want, err := identify(f)
	if err != nil {
		return "", false, err
	}
	dir, err := d.open()
	if errors.Is(err, os.ErrNotExist) {
		return "", false, nil
	} else if err != nil {
		return "", false, err
	}
	defer dir.Close()
	return d.search(dir, want)
}

// search reads the directory in pieces and only up to a number: agents can make
// as many names in it as they like.
func (d Directory) search(dir *os.File, want identity) (first string, found bool, err error) {
	for seen := 0; seen <= maxNames; {
		names, err := dir.Readdirnames(namesAtOnce)
		if errors.Is(err, io.EOF) {
			return first, found, nil
		}
		if err != nil {
			return "", false, fmt.Errorf("reading %s: %v", dir.Name(), err)
		}
		for _, name := range names {
			if (!found || name < first) && d.named(dir, name, want) {
				first, found = name, true
			}
		}
		seen += len(names)
	}
	return "", false, fmt.Errorf("%s has more than %d names", dir.Name(), maxNames)
}

func (d Directory) open() (*os.File, error) {
	path := d.Path
	if path == "" {
		path = DefaultPath
	}
	fd, err := Openat2(unix.AT_FDCWD, path, unix.O_RDONLY|unix.O_DIRECTORY, unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return nil, fmt.Errorf("directory of network namespaces %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// named reports whether name is the namespace want. The quick look comes
// first: a host may have thousands of names.
func (d Directory) named(dir *os.File, name string, want identity) bool {
	var st unix.Stat_t
	if unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || (identity{st.Dev, st.Ino}) != want {
		return false
	}
	if ValidName(name) != nil {
		return false
	}
	f, err := d.openNamespace(dir, name)
	if err != nil {
		return false
	}
	defer f.Close()
	got, err := identify(f)
	return err == nil && got == want
}
