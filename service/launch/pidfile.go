package launch

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/service/document"
)

// maxPIDFile is more than a number and its blanks ever take, in bytes.
const maxPIDFile = 64

// translate reads the pid file that the payload wrote, finds the process that it
// means and, once that listens, puts its number in our pid namespace into f. That
// is the same file, unless it was written in a private mount. It returns the process.
func (w *waiter) translate(f document.File) (Process, error) {
	written := w.launcher.written(w.document, f)
	dir, err := openParent(written)
	if errors.Is(err, unix.ENOENT) {
		return Process{}, notYet(err.Error())
	}
	if err != nil {
		return Process{}, err
	}
	defer dir.Close()
	old, number, err := readPIDFile(dir, path.Base(written.Path))
	if err != nil {
		return Process{}, prefix(f.String(), err)
	}
	process, err := find(w.table, w.document.PIDNamespace, number)
	if err == nil {
		err = w.settled(process)
	}
	if err != nil {
		return Process{}, prefix(f.String(), err)
	}
	if written == f && process.PID == number {
		return process, nil
	}
	if written != f {
		if dir, err = openParent(f); err != nil {
			return Process{}, err
		}
		defer dir.Close()
	}
	if err := replace(dir, path.Base(f.Path), old, process.PID); err != nil {
		return Process{}, fmt.Errorf("%s: %v", f, err)
	}
	return process, nil
}

// readPIDFile returns what the file name in dir is, and its number. The first
// open is O_PATH: it cannot hang on a fifo and cannot set off a device.
func readPIDFile(dir *os.File, name string) (unix.Stat_t, int, error) {
	pinned, err := openat2(int(dir.Fd()), name, "the pid file", unix.O_PATH, resolveBeneath)
	if errors.Is(err, unix.ENOENT) {
		return unix.Stat_t{}, 0, notYet("the pid file does not exist")
	}
	if err != nil {
		return unix.Stat_t{}, 0, err
	}
	defer pinned.Close()
	st, err := statOf(pinned)
	if err != nil {
		return st, 0, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return st, 0, fmt.Errorf("the pid file is not a plain file (mode %#o)", st.Mode)
	}
	text, err := readStart(pinned)
	if err != nil {
		return st, 0, err
	}
	number, err := parsePID(text)
	return st, number, err
}

// readStart reads the first bytes of a plain file, without waiting for one who
// holds a lease on it (EAGAIN, fcntl(2)).
func readStart(pinned *os.File) (string, error) {
	fd, err := unix.Open(throughProc(pinned), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == unix.EAGAIN || err == unix.EINTR {
		return "", notYet("the pid file is locked by a lease")
	}
	if err != nil {
		return "", fmt.Errorf("opening the pid file: %v", err)
	}
	defer unix.Close(fd)
	buffer := make([]byte, maxPIDFile+1)
	n, err := unix.Read(fd, buffer)
	if err == unix.EAGAIN || err == unix.EINTR {
		n, err = 0, nil
	}
	if err != nil {
		return "", fmt.Errorf("reading the pid file: %v", err)
	}
	return string(buffer[:n]), nil
}

// parsePID reads the text of a pid file: one process id and blanks around it.
// An empty text is not an error but not there yet: programs open first and
// write later.
func parsePID(text string) (int, error) {
	fields := strings.Fields(text)
	switch {
	case len(text) > maxPIDFile:
		return 0, fmt.Errorf("the pid file is longer than %d bytes", maxPIDFile)
	case len(fields) == 0:
		return 0, notYet("the pid file is empty")
	case len(fields) > 1:
		return 0, fmt.Errorf("the pid file holds more than one number: %q", text)
	}
	number, err := strconv.ParseInt(fields[0], 10, 32)
	if err != nil || number < 1 || fields[0][0] == '+' {
		return 0, fmt.Errorf("the pid file holds %q, not a process id", fields[0])
	}
	return int(number), nil
}

// replace puts a new file with a number in the place of name in dir, with the
// owner and the permissions of the old one. Both names are looked up in the
// open directory, a rename follows no link, and a file that an agent swaps in
// can only end up as the agent's own pid file.
func replace(dir *os.File, name string, old unix.Stat_t, number int) error {
	temporary := "." + rand.Text() + ".pid"
	fd, err := unix.Openat(int(dir.Fd()), temporary, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("making a new pid file: %v", err)
	}
	f := os.NewFile(uintptr(fd), temporary)
	defer f.Close()
	if err = fill(f, old, number); err == nil {
		err = unix.Renameat(int(dir.Fd()), temporary, int(dir.Fd()), name)
	}
	if err != nil {
		_ = unix.Unlinkat(int(dir.Fd()), temporary, 0) // the first error says more
		return fmt.Errorf("writing the new pid file: %v", err)
	}
	return nil
}

func fill(f *os.File, old unix.Stat_t, number int) error {
	if _, err := f.WriteString(strconv.Itoa(number) + "\n"); err != nil {
		return err
	}
	if err := unix.Fchown(int(f.Fd()), int(old.Uid), int(old.Gid)); err != nil {
		return err
	}
	return unix.Fchmod(int(f.Fd()), old.Mode&0o777)
}
