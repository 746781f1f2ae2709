package launch

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/service/document"
)

// maxGiven is how many names of a directory are looked at.
const maxGiven = 4096

// Permissions that the payload's group gets on a directory and on a file.
const (
	groupDirectory = 0o070
	groupFile      = 0o060
)

// give lets the payload's group write to a directory that an argument names, and to the
// plain files in it, as far as they are root's and of root's group: an agent that runs
// as root (edpm's do) makes them so, and the payload could not write its pid file there.
// They stay the agent's: it may be a root without CAP_DAC_OVERRIDE. Directories in it,
// files with more than one name, and what is anybody else's stay as they are.
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
			continue // a link, or gone by now
		}
		err = giveFile(d, f)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// gives reports whether the payload must be able to write to what is mounted.
func gives(d *document.Document, m document.Mount) bool { return m.Given && d.User != 0 }

// giveFile leaves alone what has several names and what could be run: a program of
// root's that others may write would be theirs.
func giveFile(d *document.Document, f *os.File) error {
	st, err := statOf(f)
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink != 1 || st.Mode&(unix.S_ISUID|unix.S_ISGID|0o111) != 0 {
		return err
	}
	return giveOne(d, f, groupFile)
}

// giveOne changes the group of what f is open on, if it is root's in both respects, and
// adds what the group may do.
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

// hasAccessList reports whether more than the mode says who may use a file (acl(5)). To
// change its mode would let others in.
func hasAccessList(f *os.File) bool {
	n, err := unix.Getxattr(throughProc(f), "system.posix_acl_access", nil)
	return err == nil && n > 0
}

// unwritable says which of the directories that the payload writes to are closed to
// its user. It looks at owners and modes, not at access lists, so it is a hint only.
func unwritable(d *document.Document) error {
	var hints []error
	for _, m := range d.Mounts {
		if !gives(d, m) {
			continue
		}
		source, err := openSource(m)
		if err != nil {
			continue // said before
		}
		st, err := statOf(source)
		source.Close()
		open := st.Uid == d.User && st.Mode&0o200 != 0 || st.Gid == d.Group && st.Mode&0o020 != 0 || st.Mode&0o002 != 0
		if err == nil && !open {
			hints = append(hints, fmt.Errorf("hint: %s belongs to user %d with mode %#o, and the payload runs as user %d (sidecar-user in the agent's file)",
				m, st.Uid, st.Mode&0o777, d.User))
		}
	}
	return errors.Join(hints...)
}
