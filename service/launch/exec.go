package launch

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Exec carries out [Launcher.Prepare] and becomes the program argv[0], an
// absolute path, with argv and environment. It returns only when something
// failed; everything is undone then.
func (l Launcher) Exec(p Plan, argv, environment []string) error {
	if len(argv) == 0 || !filepath.IsAbs(argv[0]) {
		return fmt.Errorf("the program must be an absolute path")
	}
	if err := l.Prepare(p); err != nil {
		return err
	}
	err := unix.Exec(argv[0], argv, Environment(environment))
	return errors.Join(fmt.Errorf("starting %s: %w", argv[0], err), l.Clean(p.ID))
}

// Environment returns the environment for the program: without the variables
// that only the service reads from the unit (SIDECAR_…). NOTIFY_SOCKET stays,
// the engine reports through it.
func Environment(environment []string) []string {
	var kept []string
	for _, variable := range environment {
		if !strings.HasPrefix(variable, "SIDECAR_") {
			kept = append(kept, variable)
		}
	}
	return kept
}

// Prepare removes what an earlier run of the same unit left behind, pins the
// plan's network namespace and mount sources, and removes old pid files and an
// old socket: their numbers would pass for new ones. When a step fails, the
// pins are taken away again.
func (l Launcher) Prepare(p Plan) error {
	if err := p.Validate(); err != nil {
		return err
	}
	if err := l.Clean(p.ID); err != nil {
		return fmt.Errorf("cleaning up after an earlier run: %w", err)
	}
	if err := l.prepare(p); err != nil {
		return errors.Join(err, l.Clean(p.ID))
	}
	return nil
}

func (l Launcher) prepare(p Plan) error {
	base, err := l.openBase()
	if err != nil {
		return err
	}
	defer base.Close()
	dir, err := makeDirectory(base, p.ID)
	if err != nil {
		return err
	}
	defer dir.Close()
	if p.NetworkNamespace != "" {
		if err := l.prepareNamespace(p.NetworkNamespace, dir); err != nil {
			return err
		}
	}
	if err := prepareMounts(p, dir); err != nil {
		return err
	}
	for _, f := range p.files() {
		if err := remove(f); err != nil {
			return err
		}
	}
	return nil
}

func (l Launcher) prepareNamespace(name string, dir *os.File) error {
	ns, err := l.Namespaces.Open(name)
	if err != nil {
		return err
	}
	defer ns.Close()
	return pinNamespace(ns, dir, netnsName)
}

func prepareMounts(p Plan, dir *os.File) error {
	if len(p.Mounts) == 0 {
		return nil
	}
	pins, err := makeDirectory(dir, mountsName)
	if err != nil {
		return err
	}
	defer pins.Close()
	for i, m := range p.Mounts {
		if p.Outermost(i) == i {
			if err := pinMount(m, pins, i); err != nil {
				return err
			}
		}
	}
	for _, i := range p.nested() {
		if err := nestMount(p, pins, i); err != nil {
			return err
		}
	}
	return nil
}

// remove removes a file that the payload will make again. A link there is
// removed, not followed; a directory is an error, and so is a missing parent.
func remove(f File) error {
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
