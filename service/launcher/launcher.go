// Package launcher runs as root inside every unit, around the container engine. A document
// says what to prepare and what to wait for; these functions carry it out:
//
//   - [Launcher.Run] (ExecStart) pins the network namespace and the mount sources, removes
//     old pid files and an old socket, starts the payload through the engine, waits until
//     it is ready, translates its pid files, and notifies the service manager;
//   - [StartProber] (ExecStart, after Run, for a profile with a probe) replaces the program by one
//     that probes the payload until it ends ([Prober.Run]);
//   - [Launcher.Clean] (in Run, and again in ExecStopPost) removes the pins;
//   - [Launcher.RemovePIDFiles] and [Launcher.TellOutOfMemory] (ExecStopPost) remove the pid files of
//     a payload that has ended, and say whose memory limit it reached;
//   - [Launcher.Remove] (ExecStopPost) runs the command that removes the container, and
//     [Launcher.Sweep] (sidecar-clean.service) repeats removals that failed, also of containers
//     without a unit ([Launcher.NoteOrphan]).
//
// [Launcher.CreateNamespace] and [Launcher.DeleteNamespace] have no document: they are the start and
// the end of the unit of a network namespace that the service makes for an agent.
//
// The engine's client is a program that starts the payload, sends MAINPID= and READY=1 to its
// NOTIFY_SOCKET, and exits (sd_notify(3)); or one that makes a container, leaves the number of
// its first process in a file, and exits, and a second one that starts the payload
// ([Container]).
//
// Everything in an agent's state directory is hostile and may change at any moment. So a
// path is walked once, beneath its root and without links, and from then on only the file
// descriptor counts: what is checked is what is mounted, read or replaced. The pins lie
// below a directory that only root can enter.
//
// Out of scope: which engine runs the container, and what may be launched.
package launcher

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/netns"
)

// Launcher carries documents out. The zero value works on the host; the fields are for tests.
type Launcher struct {
	Base       string // directory of all pins; "" means [document.PinsDirectory]
	Namespaces netns.Directory
	Units      string // directory with a file for each unit; "" means systemd's
	Journal    string // socket on which journald accepts streams; "" means the host's
}

// Names in a unit's directory of pins. socketName is the engine's NOTIFY_SOCKET: only root
// can send to it there. With the longest ID its path has 105 of the 107 bytes that a
// socket's path may have (unix(7)).
const (
	netnsName  = "netns"
	mountsName = "mounts"
	socketName = "notify"

	// oomName is an empty file that conmon makes in its working directory, the directory of
	// all pins, when its container is out of memory. podman reads another file.
	oomName = "oom"
)

func (l Launcher) base() string { return cmp.Or(l.Base, document.PinsDirectory) }

// openBase opens the directory of all pins, which it makes if necessary. If anybody but
// root could write to it, its contents could be swapped.
func (l Launcher) openBase() (*os.File, error) {
	base := l.base()
	if err := os.MkdirAll(filepath.Dir(base), 0o755); err != nil {
		return nil, err
	}
	if err := os.Mkdir(base, 0o700); err != nil && !os.IsExist(err) {
		return nil, err
	}
	dir, err := openFixed(base, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	st, err := statOf(dir)
	if err == nil && (int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0) {
		err = fmt.Errorf("%s: others can write there (owner %d, mode %#o)", base, st.Uid, st.Mode&0o777)
	}
	if err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}

// subdirectory opens the directory name in dir, which only root can write to.
func subdirectory(dir *os.File, name string) (*os.File, error) {
	return openat2(int(dir.Fd()), name, dir.Name()+"/"+name, unix.O_RDONLY|unix.O_DIRECTORY, resolveBeneath)
}

// makeDirectory makes the directory name in dir and opens it.
func makeDirectory(dir *os.File, name string) (*os.File, error) {
	if err := unix.Mkdirat(int(dir.Fd()), name, 0o700); err != nil {
		return nil, fmt.Errorf("making %s/%s: %v", dir.Name(), name, err)
	}
	return subdirectory(dir, name)
}

// Clean removes the pins of a unit; pins that do not exist are no error. A running payload
// is not disturbed: its container holds its namespace and its mounts itself.
//
// It detaches before it deletes, never deletes with contents and never follows a link, so
// it cannot reach the files that were pinned.
func (l Launcher) Clean(id string) error {
	if _, err := interfaces.ParseID(id); err != nil {
		return err
	}
	base, err := l.openBase()
	if err != nil {
		return err
	}
	defer base.Close()
	_ = unix.Unlinkat(int(base.Fd()), oomName, 0) // conmon would replace it
	dir, err := subdirectory(base, id)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	return errors.Join(unpin(dir, netnsName), unpin(dir, socketName), unpin(dir, document.RootName), unpin(dir, document.PointsName), cleanMounts(dir),
		os.RemoveAll(throughProc(dir)+"/"+document.BundleName), unpin(base, id))
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
	return unlink(dir, mountsName)
}

// unpin unmounts everything that is mounted on name in dir, and removes the empty file or
// directory below. MNT_DETACH leaves the mount to the processes that still use it.
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
	return unlink(dir, name)
}

// unlink removes a file or an empty directory, if it exists.
func unlink(dir *os.File, name string) error {
	err := unix.Unlinkat(int(dir.Fd()), name, 0)
	if err == unix.EISDIR {
		err = unix.Unlinkat(int(dir.Fd()), name, unix.AT_REMOVEDIR)
	}
	if err != nil && err != unix.ENOENT {
		return fmt.Errorf("removing %s/%s: %v", dir.Name(), name, err)
	}
	return nil
}
