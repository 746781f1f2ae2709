package launcher

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/service/document"
)

// Prepare removes the pins of an earlier run of the unit, pins the document's network
// namespace and mount sources, and removes old pid files and an old socket: old numbers
// would pass for new ones. When a step fails, the pins are removed again.
func (l Launcher) Prepare(d *document.Document) error {
	if err := d.Validate(); err != nil {
		return err
	}
	if err := l.Clean(d.ID); err != nil {
		return fmt.Errorf("cleaning up after an earlier run: %w", err)
	}
	if err := l.prepare(d); err != nil {
		return errors.Join(err, l.Clean(d.ID))
	}
	return nil
}

func (l Launcher) prepare(d *document.Document) error {
	base, err := l.openBase()
	if err != nil {
		return err
	}
	defer base.Close()
	dir, err := makeDirectory(base, d.ID)
	if err != nil {
		return err
	}
	defer dir.Close()
	if d.NetworkNamespace() != "" {
		if err := l.pinNamespace(d.NetworkNamespace(), dir); err != nil {
			return err
		}
	}
	if err := pinMounts(d, dir); err != nil {
		return err
	}
	for _, f := range d.Files() {
		if err := removeOld(f); err != nil {
			return err
		}
	}
	return nil
}

// removeOld removes a file that the payload will make again. A link is removed, not
// followed; a directory or a missing parent is an error.
func removeOld(f document.File) error {
	parent, err := openParent(f)
	if err != nil {
		return err
	}
	defer parent.Close()
	err = unix.Unlinkat(int(parent.Fd()), path.Base(f.Path), 0)
	switch {
	case err == nil, err == unix.ENOENT:
		return nil
	case err == unix.EISDIR:
		return fmt.Errorf("%s: is a directory, a file is expected there", f)
	}
	return fmt.Errorf("removing the old %s: %v", f, err)
}

// pinNamespace mounts a network namespace in dir. The pin stays what it is when the name
// comes to mean another namespace.
func (l Launcher) pinNamespace(name string, dir *os.File) error {
	ns, err := l.Namespaces.Open(name)
	if err != nil {
		return fmt.Errorf("network namespace %q: %w", name, err)
	}
	defer ns.Close()
	if err := touch(dir, netnsName); err != nil {
		return err
	}
	return attach(ns, dir, netnsName, 0)
}

func pinMounts(d *document.Document, dir *os.File) error {
	if len(d.Mounts) == 0 {
		return nil
	}
	pins, err := makeDirectory(dir, mountsName)
	if err != nil {
		return err
	}
	defer pins.Close()
	for i, m := range d.Mounts {
		if d.Outermost(i) == i {
			if err := pinMount(d, m, pins, strconv.Itoa(i)); err != nil {
				return err
			}
		}
	}
	for _, i := range d.Nested() {
		if err := nestMount(d, pins, i); err != nil {
			return err
		}
	}
	return nil
}

// pinMount mounts the source of m on name in dir.
func pinMount(d *document.Document, m document.Mount, dir *os.File, name string) error {
	source, err := openSource(m)
	if errors.Is(err, unix.ENOENT) && m.Optional {
		return pinEmpty(dir, name)
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
	return pin(d, m, source, dir, name)
}

// nestMount mounts the source of the i-th mount within the pin of the mount that it lies
// in. The mount point is looked up as every path of an agent is, and the mount stays on the
// directory that was found, wherever that is moved. In a private mount it is made first.
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
		outer := d.Mounts[in].Place()
		if err := makePath(pins, d.Within(in, outer), strings.TrimPrefix(m.Place(), outer+"/")); err != nil {
			return fmt.Errorf("%s: %v", m, err)
		}
	}
	target, err := openat2(int(pins.Fd()), d.Within(i, m.Place()), m.String(), unix.O_PATH, resolveBeneath)
	if err != nil {
		return err
	}
	defer target.Close()
	return pin(d, m, source, target, "")
}

// pin mounts the source of m on name in dir, or on dir itself if name is empty.
func pin(d *document.Document, m document.Mount, source, dir *os.File, name string) error {
	if err := give(d, m, source); err != nil {
		return err
	}
	if m.Private {
		return attachPrivate(d, source, dir, name)
	}
	return attach(source, dir, name, attributes(m))
}

// openSource opens the source of m. In an agent's directory the source must be a directory:
// agents replace files by rename, and a mounted file would stay the old one.
func openSource(m document.Mount) (*os.File, error) {
	if m.Root == "" {
		return openFixed(m.Path, unix.O_PATH)
	}
	return openBeneath(m.Root, m.Path, unix.O_PATH|unix.O_DIRECTORY)
}

// attributes returns the restrictions of a pin (mount_setattr(2)), which hold whatever the
// engine asks for later: set-user-id bits and device nodes have no effect, and files that an
// agent owns or a payload may write are data, not programs.
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

// pinEmpty makes an empty, read-only directory in place of a missing optional source, so
// that the engine finds a source to mount.
func pinEmpty(dir *os.File, name string) error {
	empty, err := makeDirectory(dir, name)
	if err != nil {
		return err
	}
	defer empty.Close()
	return attach(empty, dir, name, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC|unix.MOUNT_ATTR_RDONLY)
}

// makeTarget makes the mount point for a source of the given mode.
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

// attach mounts source on name in dir, or on dir itself if name is empty, with the given
// attributes. The mount is copied from the open file, so no path is walked again.
func attach(source, dir *os.File, name string, attributes uint64) error {
	tree, err := unix.OpenTree(int(source.Fd()), "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return fmt.Errorf("copying the mount of %s: %v", source.Name(), err)
	}
	defer unix.Close(tree)
	return attachTree(tree, source, dir, name, attributes)
}

// attachTree attaches a mount that is not attached anywhere. It makes the mount private before,
// to leave the peer group of the source, so that a later mount in an agent's directory does not
// appear here; and after, because attaching it below a shared mount makes it shared again
// (mount_namespaces(7)).
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
