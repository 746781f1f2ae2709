package launcher

import (
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/document"
)

// runDirectory has the network namespaces, each a mount, and twice: ip-netns(8) mounts
// /run/netns on itself, and both copies get every mount.
const runDirectory = "/run"

// withOwnMounts calls f in a mount namespace of its own. Mounts that f and its programs make go away
// with the last of these processes. systemd does not see them: it reads the table of all mounts
// whenever the host's changes. Goroutines that f starts, and all that comes after f, are in the
// host's mount namespace.
func withOwnMounts(f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := unshareMounts()
		if err == nil {
			err = f()
		}
		result <- err
	}()
	return <-result
}

// unshareMounts moves the calling thread to a mount namespace of its own.
func unshareMounts() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return &Failure{interfaces.PhasePreparation, fmt.Errorf("making a mount namespace: %w", err)}
	}
	// Before anything is unmounted here, which would be unmounted on the host, too.
	private := unix.MountAttr{Propagation: unix.MS_PRIVATE}
	if err := unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, &private); err != nil {
		return &Failure{interfaces.PhasePreparation, fmt.Errorf("making the mounts private: %w", err)}
	}
	return nil
}

// dropMounts unmounts everything below /run but the pins, in the mount namespace of [withOwnMounts]:
// the runtime copies all mounts and unmounts them again, which takes 15 ms with 1,000 network
// namespaces. It leaves them if a file that is still to be read lies there on another mount.
func (l Launcher) dropMounts(d *document.Document) error {
	old, err := openFixed(runDirectory, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer old.Close()
	if keep, err := needsMounts(d, int(old.Fd())); keep || err != nil {
		return err
	}
	run, err := unix.OpenTree(int(old.Fd()), "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return fmt.Errorf("copying the mount of %s: %w", runDirectory, err)
	}
	defer unix.Close(run)
	directory := l.base() + "/" + d.ID
	pins, err := unix.OpenTree(unix.AT_FDCWD, directory, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return fmt.Errorf("copying the mounts of %s: %w", directory, err)
	}
	defer unix.Close(pins)
	if err := unix.Unmount(runDirectory, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("unmounting %s: %w", runDirectory, err)
	}
	for _, tree := range []struct {
		fd   int
		path string
	}{{run, runDirectory}, {pins, directory}} {
		if err := unix.MoveMount(tree.fd, "", unix.AT_FDCWD, tree.path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("mounting %s: %w", tree.path, err)
		}
	}
	return nil
}

// needsMounts reports whether a file that shows readiness lies on another mount than /run, below
// it.
func needsMounts(d *document.Document, run int) (bool, error) {
	own, err := mountOf(run)
	if err != nil {
		return false, err
	}
	for _, f := range d.Files() {
		if !strings.HasPrefix(f.Root, runDirectory+"/") {
			continue
		}
		parent, err := openParent(f)
		if err != nil {
			return false, err
		}
		id, err := mountOf(int(parent.Fd()))
		parent.Close()
		if err != nil || id != own {
			return true, err
		}
	}
	return false, nil
}

// mountOf returns the number of the mount that an open file lies on.
func mountOf(fd int) (uint64, error) {
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_MNT_ID, &st); err != nil {
		return 0, fmt.Errorf("asking for a mount: %w", err)
	}
	return st.Mnt_id, nil
}
