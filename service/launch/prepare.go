package launch

import (
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/service/document"
)

// Prepare removes what an earlier run of the same unit left behind, pins the
// plan's network namespace and mount sources, and removes old pid files and an
// old socket: their numbers would pass for new ones. When a step fails, the
// pins are taken away again.
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
		if err := l.prepareNamespace(d.NetworkNamespace(), dir); err != nil {
			return err
		}
	}
	if err := prepareMounts(d, dir); err != nil {
		return err
	}
	for _, f := range d.Files() {
		if err := remove(f); err != nil {
			return err
		}
	}
	return nil
}

func (l Launcher) prepareNamespace(name string, dir *os.File) error {
	ns, err := l.Namespaces.Open(name)
	if err != nil {
		return fmt.Errorf("network namespace %q: %w", name, err)
	}
	defer ns.Close()
	return pinNamespace(ns, dir, netnsName)
}

func prepareMounts(d *document.Document, dir *os.File) error {
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
			if err := pinMount(d, m, pins, i); err != nil {
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

// remove removes a file that the payload will make again. A link there is
// removed, not followed; a directory is an error, and so is a missing parent.
func remove(f document.File) error {
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
