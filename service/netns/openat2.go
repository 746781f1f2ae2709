package netns

import (
	"errors"

	"golang.org/x/sys/unix"
)

// openAttempts bounds how often an open is tried again. An attempt takes some
// microseconds, and one of a few succeeds, however busy a directory is.
const openAttempts = 1000

// errBusy means that a path changed under every attempt to open it.
var errBusy = errors.New("it keeps changing")

// Openat2 is openat2(2) with O_CLOEXEC. It tries again after a signal (EINTR),
// and when something was renamed or mounted while the path was walked, so that
// the kernel cannot say whether it stayed beneath (EAGAIN), and gives up
// after a while.
func Openat2(dir int, path string, flags, resolve uint64) (fd int, err error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: resolve}
	for range openAttempts {
		fd, err := unix.Openat2(dir, path, &how)
		if err != unix.EINTR && err != unix.EAGAIN {
			return fd, err
		}
	}
	return -1, errBusy
}
