package netns

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

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
	return d.openNamespace(dir, name)
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

// open opens the directory without asking the file system that it is on (O_PATH),
// which an agent that may mount could have mounted there.
func (d Directory) open() (*os.File, error) {
	path := d.path()
	fd, err := Openat2(unix.AT_FDCWD, path, unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return nil, fmt.Errorf("directory of network namespaces %s: %w", path, err)
	}
	dir := os.NewFile(uintptr(fd), path)
	if err := checkTrusted(dir); err != nil {
		dir.Close()
		return nil, fmt.Errorf("directory of network namespaces %s: %w", path, err)
	}
	return dir, nil
}

// checkTrusted makes sure that a name can be looked up in the directory without
// waiting for anybody: it is on the file system that its parent is on, or on a tmpfs
// of its own. Others, such as fuse(4), can ask a process that does not answer.
func checkTrusted(dir *os.File) error {
	own, err := deviceOf(int(dir.Fd()), "", unix.AT_EMPTY_PATH)
	if err != nil {
		return err
	}
	parent, err := deviceOf(unix.AT_FDCWD, filepath.Dir(dir.Name()), 0)
	if err != nil || own == parent {
		return err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	if kind := fileSystem(string(mounts), own); kind != "tmpfs" {
		return fmt.Errorf("a file system of type %q was mounted over it, which may keep everybody waiting; only tmpfs is accepted: umount %s", kind, dir.Name())
	}
	return nil
}

// deviceOf returns the number of the file system that a file is on, MAJOR:MINOR,
// without asking it (AT_STATX_DONT_SYNC, statx(2)).
func deviceOf(dir int, path string, flags int) (string, error) {
	var st unix.Statx_t
	if err := unix.Statx(dir, path, flags|unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE, &st); err != nil {
		return "", fmt.Errorf("asking for its file system: %w", err)
	}
	return fmt.Sprintf("%d:%d", st.Dev_major, st.Dev_minor), nil
}

// fileSystem returns the type of the file system with this number, or "" if it is not
// mounted. The third field of a line of mountinfo (proc_pid_mountinfo(5)) is the
// number, the type comes after a "-".
func fileSystem(mountinfo, device string) string {
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[2] != device {
			continue
		}
		if i := slices.Index(fields, "-"); i >= 0 && i+1 < len(fields) {
			return fields[i+1]
		}
	}
	return ""
}

// OpenHost opens the host's own network namespace.
func (d Directory) OpenHost() (*os.File, error) { return os.Open(d.host()) }

// Each opens every named network namespace and calls do with it, until do returns an
// error, which it returns. Like [Directory.NameOf] it looks for names among the mounts,
// and does not read the directory.
func (d Directory) Each(do func(name string, f *os.File) error) error {
	mounted, err := d.mounted("net:[")
	if err != nil {
		return err
	}
	for name, f := range mounted {
		if err := do(name, f); err != nil {
			return err
		}
	}
	return nil
}
