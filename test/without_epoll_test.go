//go:build testhost

package test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// withoutEpoll as the first argument makes this program become the rest of its
	// arguments, see supervisedMain.
	withoutEpoll = "without-epoll"
	// slowSync as the first argument does the same, and has each sync of a file take a second.
	slowSync = "slow-sync"
	// epollIsFull is there while the program can add nothing to its epoll sets.
	epollIsFull = "/run/sidecar-test-epoll-is-full"
)

// withFullEpoll runs the daemon, for the time of the test, in such a way that its epoll
// sets (epoll(7)) can be full: they are from full() until restore().
//
// The kernel's own limit, fs.epoll.max_user_watches, is no use. It is one for the whole
// machine, and systemd as PID 1 ends when it meets it (seen with systemd 257).
func withFullEpoll(t *testing.T) (full, restore func()) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	restore = func() {
		if err := os.Remove(epollIsFull); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	}
	withSettings(t, "SystemCallFilter=seccomp", "ExecStart=", fmt.Sprintf("ExecStart=%s %s /usr/libexec/sidecar/sidecard", program, withoutEpoll))
	t.Cleanup(restore) // before the daemon is stopped
	return func() { write(t, epollIsFull, "") }, restore
}

// supervisedMain becomes the program; without one it answers for the kernel. kind is withoutEpoll
// or slowSync.
func supervisedMain(kind string, argv []string) int {
	act := func() error { return supervise(kind) }
	if len(argv) > 0 {
		act = func() error { return execSupervised(kind, argv) }
	}
	if err := act(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// execSupervised has another process decide on some system calls of this one
// (seccomp_unotify(2)), and becomes the program.
func execSupervised(kind string, argv []string) error {
	runtime.LockOSThread() // the filter is this thread's, which execve(2) leaves alone
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	supervisor := exec.Command("/proc/self/exe", kind)
	supervisor.Stdin, supervisor.Stderr = os.NewFile(uintptr(pair[1]), "socket"), os.Stderr
	if err := supervisor.Start(); err != nil {
		return err
	}
	listener, err := filterFor(kind)
	if err != nil {
		return err
	}
	if err := unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(listener), nil, 0); err != nil {
		return err
	}
	return syscall.Exec(argv[0], argv, os.Environ())
}

// filterFor has the kernel ask the returned descriptor about epoll_ctl(EPOLL_CTL_ADD), or about
// fsync and fdatasync.
func filterFor(kind string) (listener int, err error) {
	const number, operation = 0, 16 + 8 // offsets in struct seccomp_data: nr, the low half of args[1]
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	// skipUnless goes on if the value is k, else skips some instructions.
	skipUnless := func(k uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jf: skip}
	}
	answer := func(k uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k}
	}
	filter := []unix.SockFilter{
		load(number), skipUnless(unix.SYS_EPOLL_CTL, 3),
		load(operation), skipUnless(unix.EPOLL_CTL_ADD, 1),
		answer(unix.SECCOMP_RET_USER_NOTIF),
		answer(unix.SECCOMP_RET_ALLOW),
	}
	if kind == slowSync {
		filter = []unix.SockFilter{
			load(number), skipUnless(unix.SYS_FSYNC, 1), answer(unix.SECCOMP_RET_USER_NOTIF),
			skipUnless(unix.SYS_FDATASYNC, 1), answer(unix.SECCOMP_RET_USER_NOTIF), answer(unix.SECCOMP_RET_ALLOW),
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return 0, err
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return 0, os.NewSyscallError("seccomp", errno)
	}
	return int(fd), nil
}

// supervise answers for the kernel until the unit ends: with ENOSPC, as the kernel does
// at its limit, while the sets are to be full, or after a second.
func supervise(kind string) error {
	rights := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(0, make([]byte, 1), rights, 0)
	if err != nil {
		return err
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) != 1 {
		return fmt.Errorf("%d control messages, %w", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return err
	}
	for {
		var asked struct { // struct seccomp_notif
			id         uint64
			pid, flags uint32
			data       [64]byte
		}
		errno := control(fds[0], unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&asked))
		if errno == unix.EINTR || errno == unix.ENOENT { // a signal; and the thread that asked got one
			if hungUpOn(fds[0]) {
				return nil // no process has the filter any more
			}
			continue
		}
		if errno != 0 {
			return os.NewSyscallError("SECCOMP_IOCTL_NOTIF_RECV", errno)
		}
		answer := struct { // struct seccomp_notif_resp
			id    uint64
			value int64
			error int32
			flags uint32
		}{id: asked.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
		if kind == slowSync {
			time.Sleep(time.Second)
		} else if _, err := os.Stat(epollIsFull); err == nil {
			answer.flags, answer.error = 0, -int32(unix.ENOSPC)
		}
		if errno = control(fds[0], unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&answer)); errno != 0 && errno != unix.ENOENT {
			return os.NewSyscallError("SECCOMP_IOCTL_NOTIF_SEND", errno)
		}
	}
}

func hungUpOn(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd)}}
	n, err := unix.Poll(fds, 0)
	return n == 1 && err == nil && fds[0].Revents&unix.POLLHUP != 0
}

func control(fd int, request uintptr, argument unsafe.Pointer) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(argument))
	return errno
}
