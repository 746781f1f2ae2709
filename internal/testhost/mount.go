package testhost

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// mountOverlay mounts on target what lower holds, with all changes going to
// upper. work is an empty directory beside upper.
func mountOverlay(target, lower, upper, work string) error {
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work)
	if err := unix.Mount("overlay", target, "overlay", 0, options); err != nil {
		return fmt.Errorf("mount an overlay on %s: %w", target, err)
	}
	return nil
}

// removeTree removes a directory after everything mounted in it has been
// unmounted: a crashed debootstrap leaves a /proc behind, a crashed run its
// root. It removes nothing while something is still mounted there.
func removeTree(dir string) error {
	points, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	for _, point := range slices.Backward(points) {
		if err := unix.Unmount(point, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", point, err)
		}
	}
	if points, err = mountsBelow(dir); err != nil {
		return err
	}
	if len(points) > 0 {
		return fmt.Errorf("remove %s: %s is still mounted", dir, points[0])
	}
	return os.RemoveAll(dir)
}

// mountsBelow returns the mount points at and below dir, parents first.
func mountsBelow(dir string) ([]string, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var points []string
	for _, entry := range parseMounts(string(table)) {
		if entry.point == dir || strings.HasPrefix(entry.point, dir+"/") {
			points = append(points, entry.point)
		}
	}
	return points, nil
}

// mountEntry is what we need of one line of /proc/PID/mountinfo.
type mountEntry struct{ point, fsType string }

// unescapeMount undoes the kernel's octal escapes in mount points.
var unescapeMount = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// parseMounts reads mountinfo as proc_pid_mountinfo(5) describes it: the
// mount point is field 5, the type follows the lone hyphen.
func parseMounts(table string) []mountEntry {
	var entries []mountEntry
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		hyphen := slices.Index(fields, "-")
		if hyphen < 6 || hyphen+1 >= len(fields) {
			continue
		}
		entries = append(entries, mountEntry{unescapeMount.Replace(fields[4]), fields[hyphen+1]})
	}
	return entries
}
