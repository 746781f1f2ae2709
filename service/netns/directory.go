// Package netns names, checks and identifies network namespaces.
//
// A named network namespace is a file below /run/netns on which the namespace is
// bind-mounted (ip-netns(8)). Agents share that directory, so all its content is
// hostile. This package checks the characters of a name, opens it without following
// links, and asks the kernel what the open file is before anybody joins it. The open
// file stays the same namespace, whatever happens to the name later.
//
// Out of scope: making, entering and deleting namespaces, and deciding who may use
// which namespace.
package netns

import (
	"cmp"
	"errors"
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
	// DefaultHost is the host's own network namespace: process 1 is in it.
	DefaultHost = "/proc/1/ns/net"
)

// maxName is the longest name in bytes, NAME_MAX of Linux.
const maxName = 255

// ValidName returns nil if the kernel accepts name for a network namespace and name is
// one component of a path. The policy decides which names an agent may use.
func ValidName(name string) error {
	switch {
	case name == "":
		return errors.New("it is empty")
	case len(name) > maxName:
		return fmt.Errorf("it is %d bytes long, %d are allowed", len(name), maxName)
	case name == "." || name == "..":
		return errors.New("it is a directory")
	case strings.ContainsAny(name, "/\x00"):
		return errors.New("it has a '/' or a null byte in it")
	}
	return nil
}

// Directory is a directory of named network namespaces. The zero value is the
// host's. Both fields exist for tests.
type Directory struct {
	Path string // absolute; "" means DefaultPath
	Host string // the namespace that is always refused; "" means DefaultHost
}

// Open opens the network namespace with this name. The file can be joined with
// setns(2), bind-mounted, and compared. Open refuses an invalid name, a link,
// anything but a mounted network namespace, and the host's own namespace. The error
// says what to do; it is [os.ErrNotExist] if the name does not exist.
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

// OpenHost opens the host's own network namespace.
func (d Directory) OpenHost() (*os.File, error) { return os.Open(d.host()) }

// OpenDirectory opens the directory itself, with O_PATH.
func (d Directory) OpenDirectory() (*os.File, error) { return d.open() }

// Directory returns the directory's path.
func (d Directory) Directory() string { return d.path() }

func (d Directory) path() string { return cmp.Or(d.Path, DefaultPath) }

func (d Directory) host() string { return cmp.Or(d.Host, DefaultHost) }

// open opens the directory with O_PATH, which does not ask its file system: an agent
// that may mount could have mounted one that does not answer.
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

// checkTrusted makes sure that looking up a name in the directory cannot hang: the
// directory is on its parent's file system, or on a tmpfs. Other file systems, such as
// fuse(4), can ask a process that does not answer.
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

// deviceOf returns the number of a file's file system, MAJOR:MINOR, without asking the
// file system (AT_STATX_DONT_SYNC, statx(2)).
func deviceOf(dir int, path string, flags int) (string, error) {
	var st unix.Statx_t
	if err := unix.Statx(dir, path, flags|unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE, &st); err != nil {
		return "", fmt.Errorf("asking for its file system: %w", err)
	}
	return fmt.Sprintf("%d:%d", st.Dev_major, st.Dev_minor), nil
}

// fileSystem returns the type of the file system with this number, or "" if it is not
// mounted. In mountinfo (proc_pid_mountinfo(5)) the number is the third field, and the
// type comes after "-".
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
