package launch

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

// Names in the directory of a unit. socketName is the engine's NOTIFY_SOCKET: only
// root can send to it there. With the longest ID its path has 105 bytes, of the
// 107 that a socket's may have (unix(7)).
const (
	netnsName  = "netns"
	mountsName = "mounts"
	socketName = "notify"
)

// oomName is the file that conmon makes in its working directory, the directory of all
// pins, when its container is out of memory. podman reads another one.
const oomName = "oom"

// Clean takes the pins of a unit away. What is gone already is no error, so it
// can be done twice. The unit is not disturbed by it once its payload runs: a
// container holds its namespace and its mounts itself.
//
// It detaches before it deletes, never deletes with contents and never follows
// a link, so it cannot reach what was pinned.
func (l Launcher) Clean(id string) error {
	if _, err := interfaces.ParseID(id); err != nil {
		return err
	}
	base, err := l.openBase()
	if err != nil {
		return err
	}
	defer base.Close()
	_ = unix.Unlinkat(int(base.Fd()), oomName, 0) // an empty file, which the next one would replace
	dir, err := subdirectory(base, id)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	return errors.Join(unpin(dir, netnsName), unpin(dir, socketName), cleanMounts(dir), removeEmpty(base, id))
}

func cleanMounts(dir *os.File) error {
	mounts, err := subdirectory(dir, mountsName)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer mounts.Close()
	names, err := mounts.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("reading %s: %v", mounts.Name(), err)
	}
	for _, name := range names {
		if err := unpin(mounts, name); err != nil {
			return err
		}
	}
	return removeEmpty(dir, mountsName)
}

// unpin unmounts name in dir as often as something is mounted on it, and then
// removes the empty file or directory below. MNT_DETACH leaves the mount to
// those who still use it.
func unpin(dir *os.File, name string) error {
	path := throughProc(dir) + "/" + name
	var err error
	for range 16 {
		if err = unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			break
		}
	}
	if err != nil && err != unix.EINVAL && err != unix.ENOENT {
		return fmt.Errorf("unmounting %s/%s: %v", dir.Name(), name, err)
	}
	err = unix.Unlinkat(int(dir.Fd()), name, 0)
	if err == unix.EISDIR {
		return removeEmpty(dir, name)
	}
	if err != nil && err != unix.ENOENT {
		return fmt.Errorf("removing %s/%s: %v", dir.Name(), name, err)
	}
	return nil
}

func removeEmpty(dir *os.File, name string) error {
	err := unix.Unlinkat(int(dir.Fd()), name, unix.AT_REMOVEDIR)
	if err != nil && err != unix.ENOENT {
		return fmt.Errorf("removing %s/%s: %v", dir.Name(), name, err)
	}
	return nil
}
