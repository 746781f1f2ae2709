//go:build testhost

package test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// mute mounts a file system on a new file that nobody answers for (fuse(4)).
func mute(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(path) })
	muteOver(t, path, unix.S_IFREG, false)
}

// muteOver mounts a file system over a file or directory that nobody answers for, and
// returns what ends it. If attentive, somebody reads the requests: then not even
// SIGKILL ends a process that waits for an answer.
func muteOver(t *testing.T, path string, kind uint32, attentive bool) (end func()) {
	t.Helper()
	device := "/root/fuse" // /tmp is mounted nodev
	if err := unix.Mknod(device, unix.S_IFCHR|0o600, int(unix.Mkdev(10, 229))); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	_ = os.Remove(device)
	if errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENODEV) {
		lacking(t, "this kernel has no fuse, as a module either (CONFIG_FUSE_FS): %v", err) // an open would load it
	}
	if err != nil {
		t.Fatal(err)
	}
	ended := false
	end = func() {
		if !ended {
			ended = true
			unix.Close(fd) // first: from now on it answers that it has ended
			_ = unix.Unmount(path, unix.MNT_DETACH)
		}
	}
	t.Cleanup(end)
	options := fmt.Sprintf("fd=%d,rootmode=%o,user_id=0,group_id=0,allow_other", fd, kind)
	if err := unix.Mount("mute", path, "fuse", 0, options); err != nil {
		t.Fatal(err)
	}
	if attentive {
		if err := greetFUSE(fd); err != nil {
			t.Fatal(err)
		}
		end = ignoreRequests(fd, end)
		t.Cleanup(end)
	}
	return end
}

// greetFUSE answers the kernel's first request, FUSE_INIT (linux/fuse.h): without, it
// makes no others.
func greetFUSE(fd int) error {
	in := make([]byte, 1<<16)
	if _, err := unix.Read(fd, in); err != nil {
		return err
	}
	out := make([]byte, 16+64)                           // fuse_out_header, fuse_init_out
	binary.NativeEndian.PutUint32(out, uint32(len(out))) // len
	copy(out[8:16], in[8:16])                            // unique
	binary.NativeEndian.PutUint32(out[16:], 7)           // major
	binary.NativeEndian.PutUint32(out[20:], 31)          // minor
	binary.NativeEndian.PutUint32(out[24+12:], 4096)     // max_write
	binary.NativeEndian.PutUint32(out[24+16:], 1)        // time_gran
	_, err := unix.Write(fd, out)
	return err
}

// ignoreRequests reads requests and never answers. What it returns ends that first: a device
// that is read from is not closed before the read ends.
func ignoreRequests(fd int, end func()) func() {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		for {
			select {
			case <-stop:
				return
			default:
			}
			if n, err := unix.Poll(fds, 50); err == nil && n > 0 {
				if _, err := unix.Read(fd, make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}
	}()
	ended := false
	return func() {
		if !ended {
			ended = true
			close(stop)
			<-done
		}
		end()
	}
}
