//go:build testhost

package test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// From linux/userfaultfd.h.
const (
	uffdAPI         = 0xaa
	uffdioAPI       = 0xc018aa3f
	uffdioRegister  = 0xc020aa00
	uffdModeMissing = 1
)

// lockDirectory reads a directory into memory that is not there until it returns what
// releases it: meanwhile the kernel holds the directory's lock. One thread that wants
// to write waits behind the reader, and all others behind that one.
func lockDirectory(t *testing.T, path string) (release func()) {
	t.Helper()
	memory, faults := absentMemory(t)
	directory, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	junk := filepath.Join(path, "junk")
	reader := inThread(t, func() error {
		_, err := unix.Getdents(int(directory.Fd()), memory)
		return err
	}, "S", "D")
	writer := inThread(t, func() error { return unix.Mkdir(junk, 0o700) }, "D")
	released := false
	release = func() {
		if released {
			return
		}
		released = true
		unix.Close(faults)
		if err := errors.Join(<-reader, <-writer); err != nil {
			t.Errorf("the lock of %s: %v", path, err)
		}
		directory.Close()
		_ = os.Remove(junk)
	}
	t.Cleanup(release)
	return release
}

// absentMemory returns memory that who touches it waits for until the descriptor is
// closed (userfaultfd(2)).
func absentMemory(t *testing.T) (memory []byte, fd int) {
	t.Helper()
	memory, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	faults, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC, 0, 0)
	if errno == unix.ENOSYS {
		lacking(t, "this kernel has no userfaultfd (CONFIG_USERFAULTFD): %v", errno)
	}
	if errno != 0 {
		t.Fatal("userfaultfd:", errno)
	}
	api := [3]uint64{uffdAPI}
	where := [4]uint64{uint64(uintptr(unsafe.Pointer(&memory[0]))), uint64(len(memory)), uffdModeMissing}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, faults, uffdioAPI, uintptr(unsafe.Pointer(&api))); errno != 0 {
		t.Fatal("UFFDIO_API:", errno)
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, faults, uffdioRegister, uintptr(unsafe.Pointer(&where))); errno != 0 {
		t.Fatal("UFFDIO_REGISTER:", errno)
	}
	return memory, int(faults)
}

// inThread makes a call in a thread of its own, which must wait in the kernel in one of
// these states (proc_pid_stat(5)).
func inThread(t *testing.T, call func() error, states ...string) (done <-chan error) {
	t.Helper()
	thread, result := make(chan int, 1), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		thread <- unix.Gettid()
		result <- call()
	}()
	id := <-thread
	eventually(t, 5*time.Second, "the thread waits in the kernel", func() bool {
		for _, state := range states {
			if strings.HasPrefix(status(t, id, "State"), state) {
				return true
			}
		}
		return false
	})
	return result
}
