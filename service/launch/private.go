package launch

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

// A private mount holds pid files and mount points; a payload cannot fill the
// host's memory with it (tmpfs(5)).
const (
	privateSize   = "64k"
	privateInodes = "64"
)

// attachPrivate mounts a new, empty file system of the payload's user on name in dir,
// or on dir itself, in place of source.
func attachPrivate(d *document.Document, source, dir *os.File, name string) error {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("making a private mount: %v", err)
	}
	defer unix.Close(fs)
	options := [][2]string{
		{"size", privateSize},
		{"nr_inodes", privateInodes},
		{"mode", "0755"},
		{"uid", strconv.FormatUint(uint64(d.User), 10)},
		{"gid", strconv.FormatUint(uint64(d.Group), 10)},
	}
	if label := labelOf(source); label != "" {
		options = append(options, [2]string{"context", label})
	}
	for _, option := range options {
		err = errors.Join(err, unix.FsconfigSetString(fs, option[0], option[1]))
	}
	if err == nil {
		err = unix.FsconfigCreate(fs)
	}
	if err != nil {
		return fmt.Errorf("making a private mount: %v", err)
	}
	tree, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("making a private mount: %v", err)
	}
	defer unix.Close(tree)
	return attachTree(tree, source, dir, name, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
}

// labelOf returns the SELinux label of a directory, "" where there is none. What
// stands in its place needs the same, or the container may not write there.
func labelOf(source *os.File) string {
	if _, err := os.Stat("/sys/fs/selinux/enforce"); err != nil {
		return ""
	}
	label := make([]byte, 1024)
	n, err := unix.Getxattr(throughProc(source), "security.selinux", label)
	if err != nil {
		return ""
	}
	return strings.TrimRight(string(label[:n]), "\x00")
}

// makePath makes the directories of rel below base, a directory beneath pins that
// only root can write to.
func makePath(pins *os.File, base, rel string) error {
	dir, err := openat2(int(pins.Fd()), base, base, unix.O_PATH|unix.O_DIRECTORY, resolveBeneath)
	if err != nil {
		return err
	}
	defer func() { dir.Close() }()
	for part := range strings.SplitSeq(rel, "/") {
		if err := unix.Mkdirat(int(dir.Fd()), part, 0o755); err != nil && err != unix.EEXIST {
			return fmt.Errorf("making %s/%s: %v", dir.Name(), part, err)
		}
		next, err := openat2(int(dir.Fd()), part, path.Join(dir.Name(), part), unix.O_PATH|unix.O_DIRECTORY, resolveBeneath)
		if err != nil {
			return err
		}
		dir.Close()
		dir = next
	}
	return nil
}

// written returns where the payload writes a file: in a private mount the host
// sees it only in the pins, otherwise it is the file itself.
func (l Launcher) written(d *document.Document, f document.File) document.File {
	i, ok := d.Innermost(f.String())
	if !ok || !d.Mounts[i].Private {
		return f
	}
	return document.File{Root: path.Join(l.base(), d.ID, mountsName), Path: d.Within(i, f.String())}
}
