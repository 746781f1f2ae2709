package netns

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// openNamespace opens name below dir and makes sure that it is a network namespace
// other than the host's. It opens with O_PATH first, which cannot hang on a fifo or
// trigger a device, and without O_NOFOLLOW, which would open a link itself instead of
// refusing it.
func (d Directory) openNamespace(dir *os.File, name string) (*os.File, error) {
	fd, err := Openat2(int(dir.Fd()), name, unix.O_PATH,
		unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_MAGICLINKS)
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("is a symbolic link; mount the namespace itself there, as ip netns add does")
	} else if err != nil {
		return nil, fmt.Errorf("opening it in %s: %w", dir.Name(), err)
	}
	pinned := os.NewFile(uintptr(fd), name)
	defer pinned.Close()
	if err := checkNSFS(pinned, dir.Name()); err != nil {
		return nil, err
	}
	f, err := os.Open("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return nil, fmt.Errorf("opening it again: %v", err)
	}
	if err := d.checkNetwork(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// checkNSFS makes sure that f lies on the kernel's only file system of namespaces. It
// does not ask f's own file system (AT_STATX_DONT_SYNC, statx(2)): an agent that may
// mount could have mounted one that does not answer.
func checkNSFS(f *os.File, directory string) error {
	var st unix.Statx_t
	err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE|unix.STATX_SIZE, &st)
	if err != nil {
		return fmt.Errorf("asking what it is: %v", err)
	}
	var own unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &own); err != nil {
		return fmt.Errorf("asking for the file system of namespaces: %v", err)
	}
	if unix.Mkdev(st.Dev_major, st.Dev_minor) == own.Dev {
		return nil
	}
	if uint32(st.Mode)&unix.S_IFMT == unix.S_IFREG && st.Size == 0 {
		return fmt.Errorf("is an empty file: the namespace is not mounted here; share %s with the agent, rshared", directory)
	}
	return fmt.Errorf("is not a namespace but a %s", kind(uint32(st.Mode)))
}

// checkNetwork makes sure that f is a network namespace and not the host's.
// NS_GET_NSTYPE is described in ioctl_nsfs(2).
func (d Directory) checkNetwork(f *os.File) error {
	kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE)
	if err != nil {
		return fmt.Errorf("asking for the kind of namespace: %v", err)
	}
	if kind != unix.CLONE_NEWNET {
		return fmt.Errorf("is a namespace of another kind (%#x), not of the network", kind)
	}
	host, err := d.IsHost(f)
	if err != nil {
		return err
	}
	if host {
		return fmt.Errorf("is the host's own network namespace under another name")
	}
	return nil
}

func kind(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "plain file"
	case unix.S_IFDIR:
		return "directory"
	case unix.S_IFIFO:
		return "fifo"
	case unix.S_IFSOCK:
		return "socket"
	}
	return "device"
}

// openAttempts bounds how often an open is tried again. An attempt takes a few
// microseconds, and one of a few succeeds, even in a busy directory.
const openAttempts = 1000

// errBusy means that the path changed during every attempt to open it.
var errBusy = errors.New("it keeps changing")

// Openat2 is openat2(2) with O_CLOEXEC. It tries again, up to openAttempts times, after
// a signal (EINTR) and after a rename or mount during the lookup, which keeps the kernel
// from telling whether the path stayed beneath dir (EAGAIN).
func Openat2(dir int, path string, flags, resolve uint64) (fd int, err error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: resolve}
	for range openAttempts {
		fd, err := unix.Openat2(dir, path, &how)
		if err != unix.EINTR && err != unix.EAGAIN {
			return fd, err
		}
	}
	return -1, errBusy
}
