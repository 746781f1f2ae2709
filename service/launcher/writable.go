package launcher

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/service/document"
)

const (
	// maxGiven is how many names of a directory give looks at.
	maxGiven = 4096

	// Permissions that the payload's group gets on a directory and on a file.
	groupDirectory = 0o070
	groupFile      = 0o060

	// Limits of a private mount, which holds pid files and mount points. They keep a payload
	// from filling the host's memory (tmpfs(5)).
	privateSize   = "64k"
	privateInodes = "64"
)

// give lets the payload's group write to a directory that an argument names, and to the
// plain files in it, if user and group root own them: an agent that runs as root (edpm's
// agents do) makes them so, and the payload could not write its pid file there. The user
// stays the owner: it may be a root without CAP_DAC_OVERRIDE. Subdirectories, files with
// more than one name, and files of anybody else stay as they are.
func give(d *document.Document, m document.Mount, source *os.File) error {
	if !gives(d, m) {
		return nil
	}
	if err := giveOne(d, source, groupDirectory); err != nil {
		return err
	}
	dir, err := os.Open(throughProc(source))
	if err != nil {
		return fmt.Errorf("%s: %v", m, err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(maxGiven)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %v", m, err)
	}
	for _, name := range names {
		f, err := openat2(int(dir.Fd()), name, m.String()+"/"+name, unix.O_PATH, resolveBeneath|unix.RESOLVE_NO_XDEV)
		if err != nil {
			continue // a link, or removed meanwhile
		}
		err = giveFile(d, f)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// gives reports whether the payload must be able to write to the mount's source.
func gives(d *document.Document, m document.Mount) bool { return m.Given && d.User != 0 }

// giveFile leaves alone a file with several names, and a program, which root might run.
func giveFile(d *document.Document, f *os.File) error {
	st, err := statOf(f)
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink != 1 || st.Mode&(unix.S_ISUID|unix.S_ISGID|0o111) != 0 {
		return err
	}
	return giveOne(d, f, groupFile)
}

// giveOne changes the group of a file that user and group root own, and adds the group's
// permissions.
func giveOne(d *document.Document, f *os.File, mode uint32) error {
	st, err := statOf(f)
	if err != nil || st.Uid != 0 || st.Gid != 0 || hasAccessList(f) {
		return err
	}
	err = unix.Fchownat(int(f.Fd()), "", -1, int(d.Group), unix.AT_EMPTY_PATH)
	if err == nil {
		err = unix.Chmod(throughProc(f), st.Mode&(unix.S_ISVTX|0o777)|mode)
	}
	if err != nil {
		return fmt.Errorf("giving %s to group %d: %v", f.Name(), d.Group, err)
	}
	return nil
}

// hasAccessList reports whether a file has an access list (acl(5)). A changed mode would
// let others in.
func hasAccessList(f *os.File) bool {
	n, err := unix.Getxattr(throughProc(f), "system.posix_acl_access", nil)
	return err == nil && n > 0
}

// unwritable names the directories that the payload must be able to write to, and whose
// owner and mode do not let its user. It ignores access lists, so it is only a hint.
func unwritable(d *document.Document) error {
	var hints []error
	for _, m := range d.Mounts {
		if !gives(d, m) {
			continue
		}
		source, err := openSource(m)
		if err != nil {
			continue // the preparation has reported it
		}
		st, err := statOf(source)
		source.Close()
		open := st.Uid == d.User && st.Mode&0o200 != 0 || st.Gid == d.Group && st.Mode&0o020 != 0 || st.Mode&0o002 != 0
		if err == nil && !open {
			hints = append(hints, fmt.Errorf("hint: %s belongs to user %d with mode %#o, "+
				"and the payload runs as user %d (sidecar-user in the agent's file)", m, st.Uid, st.Mode&0o777, d.User))
		}
	}
	return errors.Join(hints...)
}

// attachPrivate mounts a new, empty file system of the payload's user on name in dir, or on
// dir itself if name is empty, in place of source.
func attachPrivate(d *document.Document, source, dir *os.File, name string) error {
	tree, err := privateTree(d, labelOf(source))
	if err != nil {
		return fmt.Errorf("making a private mount: %v", err)
	}
	defer unix.Close(tree)
	return attachTree(tree, source, dir, name, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
}

func privateTree(d *document.Document, label string) (tree int, err error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	options := [][2]string{
		{"size", privateSize},
		{"nr_inodes", privateInodes},
		{"mode", "0755"},
		{"uid", strconv.FormatUint(uint64(d.User), 10)},
		{"gid", strconv.FormatUint(uint64(d.Group), 10)},
	}
	if label != "" {
		options = append(options, [2]string{"context", label})
	}
	for _, option := range options {
		if err := unix.FsconfigSetString(fs, option[0], option[1]); err != nil {
			return -1, fmt.Errorf("%s=%s: %w", option[0], option[1], err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, err
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
}

// labelOf returns the SELinux label of a directory, "" if it has none. A private mount in
// its place needs the same label, or the container may not write there.
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

// makePath makes the directories of rel below base, a directory beneath pins that only root
// can write to.
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

// written returns where the payload writes a file: in a private mount the host sees it only
// in the pins.
func (l Launcher) written(d *document.Document, f document.File) document.File {
	i, ok := d.Innermost(f.String())
	if !ok || !d.Mounts[i].Private {
		return f
	}
	return document.File{Root: path.Join(l.base(), d.ID, mountsName), Path: d.Within(i, f.String())}
}
