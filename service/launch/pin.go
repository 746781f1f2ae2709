package launch

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/service/document"
)

// pinNamespace mounts an open network namespace on name in dir. It stays what
// it is now even if its name comes to mean another one.
func pinNamespace(ns, dir *os.File, name string) error {
	if err := touch(dir, name); err != nil {
		return err
	}
	return attach(ns, dir, name, 0)
}

// pinMount mounts the source of m on the i-th name in dir.
func pinMount(d *document.Document, m document.Mount, dir *os.File, i int) error {
	name := strconv.Itoa(i)
	source, err := openSource(m)
	if errors.Is(err, unix.ENOENT) && m.Optional {
		return standIn(dir, name)
	}
	if err != nil {
		return err
	}
	defer source.Close()
	st, err := statOf(source)
	if err != nil {
		return err
	}
	if err := makeTarget(dir, name, st.Mode); err != nil {
		return fmt.Errorf("%s: %v", m, err)
	}
	if err := give(d, m, source); err != nil {
		return err
	}
	return pin(d, m, source, dir, name)
}

// pin mounts the source of m on name in dir, or on dir itself if name is empty.
func pin(d *document.Document, m document.Mount, source, dir *os.File, name string) error {
	if m.Private {
		return attachPrivate(d, source, dir, name)
	}
	return attach(source, dir, name, attributes(m))
}

// nestMount mounts the source of the i-th mount within the pin of the mount that
// it lies in. The mount point is looked up as all that is an agent's, and what was
// found is mounted on, wherever it is moved. In a private mount it is made first.
func nestMount(d *document.Document, pins *os.File, i int) error {
	m := d.Mounts[i]
	source, err := openSource(m)
	if errors.Is(err, unix.ENOENT) && m.Optional {
		return nil
	}
	if err != nil {
		return err
	}
	defer source.Close()
	if in, ok := d.Innermost(m.Place()); ok && d.Mounts[in].Private {
		if err := makePath(pins, d.Within(in, d.Mounts[in].Place()), strings.TrimPrefix(m.Place(), d.Mounts[in].Place()+"/")); err != nil {
			return fmt.Errorf("%s: %v", m, err)
		}
	}
	target, err := openat2(int(pins.Fd()), d.Within(i, m.Place()), m.String(), unix.O_PATH, resolveBeneath)
	if err != nil {
		return err
	}
	defer target.Close()
	if err := give(d, m, source); err != nil {
		return err
	}
	return pin(d, m, source, target, "")
}

// openSource opens what m is about. In an agent's directory that must be a
// directory: agents replace files by rename, and a mounted file would then
// stay the old one. A fixed path may be a file.
func openSource(m document.Mount) (*os.File, error) {
	if m.Root == "" {
		return openFixed(m.Path, unix.O_PATH)
	}
	return openBeneath(m.Root, m.Path, unix.O_PATH|unix.O_DIRECTORY)
}

// attributes returns the restrictions of a pin (mount_setattr(2)). They hold
// whatever the engine asks for later: set-user-id bits and device nodes that
// an agent made are worth nothing, and its files are data, not programs, as is all that
// a payload may write.
func attributes(m document.Mount) uint64 {
	all := uint64(unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV)
	if m.Root != "" || m.Writable {
		all |= unix.MOUNT_ATTR_NOEXEC
	}
	if !m.Writable {
		all |= unix.MOUNT_ATTR_RDONLY
	}
	return all
}

// standIn makes an empty, read-only directory in place of something optional
// that is missing. Without one the engine would find no source to mount.
func standIn(dir *os.File, name string) error {
	empty, err := makeDirectory(dir, name)
	if err != nil {
		return err
	}
	defer empty.Close()
	return attach(empty, dir, name, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC|unix.MOUNT_ATTR_RDONLY)
}

// makeTarget makes what a source of the given mode can be mounted on.
func makeTarget(dir *os.File, name string, mode uint32) error {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return unix.Mkdirat(int(dir.Fd()), name, 0o700)
	case unix.S_IFREG, unix.S_IFSOCK:
		return touch(dir, name)
	}
	return errors.New("is neither a directory nor a plain file nor a socket")
}

// touch makes an empty file.
func touch(dir *os.File, name string) error {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_CREAT|unix.O_EXCL|unix.O_RDONLY|unix.O_CLOEXEC, 0o400)
	if err != nil {
		return fmt.Errorf("making %s/%s: %v", dir.Name(), name, err)
	}
	return unix.Close(fd)
}

// attach mounts source on name in dir, or on dir itself if name is empty, with
// the given attributes. The copy of the mount is made from the open file, so no
// path is walked again. It is made private twice, for two reasons: before it is
// attached, to leave the peer group of its source, so that nothing mounted in an
// agent's directory later shows up here; and afterwards, because attaching below
// a shared mount made it shared again (mount_namespaces(7)).
func attach(source, dir *os.File, name string, attributes uint64) error {
	tree, err := unix.OpenTree(int(source.Fd()), "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return fmt.Errorf("copying the mount of %s: %v", source.Name(), err)
	}
	defer unix.Close(tree)
	return attachTree(tree, source, dir, name, attributes)
}

// attachTree attaches a mount that is nowhere yet.
func attachTree(tree int, source, dir *os.File, name string, attributes uint64) error {
	attr := unix.MountAttr{Attr_set: attributes, Propagation: unix.MS_PRIVATE}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return fmt.Errorf("restricting the mount of %s: %v", source.Name(), err)
	}
	if err := unix.MoveMount(tree, "", int(dir.Fd()), name, unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
		return fmt.Errorf("mounting %s on %s/%s: %v", source.Name(), dir.Name(), name, err)
	}
	attr = unix.MountAttr{Propagation: unix.MS_PRIVATE}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return fmt.Errorf("making the mount on %s/%s private: %v", dir.Name(), name, err)
	}
	return nil
}
