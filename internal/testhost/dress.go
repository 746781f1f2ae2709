package testhost

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// dress writes what makes a tree a host of ours into its root, before boot.
func (c Config) dress(root string) error {
	err := errors.Join(
		writeFile(root, "etc/containers/containers.conf", string(containersConf), 0o644),
		// Empty, not absent: systemd makes a new id, but does not take this
		// for a first boot (machine-id(5)).
		writeFile(root, "etc/machine-id", "", 0o444),
		// nspawn's machine name becomes the host's name.
		os.RemoveAll(filepath.Join(root, "etc/hostname")),
	)
	return errors.Join(err, c.maskUnits(root))
}

// maskUnits masks what must not start, or has nothing to do.
func (c Config) maskUnits(root string) error {
	var err error
	for _, unit := range slices.Concat(baseMask, c.Spec.Mask) {
		err = errors.Join(err, mask(root, unit))
	}
	return err
}

// mask does what systemctl mask does.
func mask(root, unit string) error {
	link := filepath.Join(root, "etc/systemd/system", unit)
	if err := os.RemoveAll(link); err != nil {
		return err
	}
	return os.Symlink("/dev/null", link)
}

// install copies the content of a staged directory over the root. Staged
// files may belong to the user who built them; in the host they are root's.
// Entry by entry, because the mode of the staged directory itself, often
// 0700, must not become the mode of the host's root.
func install(ctx context.Context, staged, root string) error {
	entries, err := os.ReadDir(staged)
	if err != nil {
		return err
	}
	argv := []string{"cp", "--archive", "--no-preserve=ownership", "--target-directory=" + root}
	for _, entry := range entries {
		argv = append(argv, filepath.Join(staged, entry.Name()))
	}
	if len(entries) == 0 {
		return fmt.Errorf("install %s: nothing in it", staged)
	}
	return runOuter(ctx, io.Discard, argv...)
}
