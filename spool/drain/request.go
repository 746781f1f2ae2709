package drain

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/spool"
)

// request is a request that was claimed and understood.
type request struct {
	name       string
	parameters any       // a pointer to one of package interfaces
	modified   time.Time // when it was written
	claimed    time.Time // when it was claimed
	again      bool      // it may have been asked for already
}

// unfitError says why a file is no request. It is moved aside.
type unfitError struct{ detail error }

func (e *unfitError) Error() string { return e.detail.Error() }

func unfit(format string, args ...any) error {
	return &unfitError{&interfaces.InvalidParameterError{Parameter: "request", Reason: fmt.Sprintf(format, args...)}}
}

// read reads a claimed request. Its error is fs.ErrNotExist or an unfitError.
func (d *drain) read(name string) (*request, error) {
	f, err := openBeneath(d.tree.claimed, spool.File(name), unix.O_PATH|unix.O_NOFOLLOW)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		return nil, unfit("it cannot be opened: %v", err)
	}
	defer f.Close()
	st, err := statOf(f)
	if err == nil {
		err = d.checkFile(&st)
	}
	if err != nil {
		return nil, err
	}
	text, err := contents(f)
	if err != nil {
		return nil, err
	}
	parameters, err := parse(text)
	if err != nil {
		return nil, &unfitError{err}
	}
	return &request{
		name: name, parameters: parameters,
		modified: time.Unix(st.Mtim.Unix()), claimed: time.Unix(st.Ctim.Unix()),
	}, nil
}

// checkFile refuses what is no file that the spool's user has written.
func (d *drain) checkFile(st *unix.Stat_t) error {
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return unfit("it is %s and not a regular file", kindOf(st.Mode))
	case st.Uid != d.tree.user && int(st.Uid) != os.Geteuid():
		return unfit("it belongs to user %d, and the spool to user %d", st.Uid, d.tree.user)
	case st.Nlink != 1:
		return unfit("it has %d names", st.Nlink)
	case st.Size > spool.MaxRequest:
		return unfit("it has %d bytes, which is more than %d", st.Size, spool.MaxRequest)
	}
	return nil
}

func kindOf(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return "a directory"
	case unix.S_IFLNK:
		return "a symbolic link"
	case unix.S_IFIFO:
		return "a fifo"
	case unix.S_IFSOCK:
		return "a socket"
	}
	return "a device"
}

// contents reads the regular file that f is the path of. O_NONBLOCK is for a file
// with a lease (fcntl(2)): opening it would wait until its owner gives that up.
func contents(f *os.File) ([]byte, error) {
	opened, err := os.OpenFile(procFD(f), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, unfit("it cannot be read: %v", bare(err))
	}
	defer opened.Close()
	text, err := io.ReadAll(io.LimitReader(opened, spool.MaxRequest+1))
	if err != nil {
		return nil, unfit("it cannot be read: %v", bare(err))
	}
	if len(text) > spool.MaxRequest {
		return nil, unfit("it grows")
	}
	return text, nil
}

func procFD(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// bare takes the path off an error.
func bare(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
