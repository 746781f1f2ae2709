package twin

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// dialAs connects to a socket as another user: what the kernel tells of a peer is
// what the connecting thread was (SO_PEERCRED, unix(7)). setresuid(2) as the kernel
// has it is about one thread; it is the C library and Go that make all others follow.
func dialAs(uid uint32, path string) (*net.UnixConn, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := become(uid); err != nil {
		return nil, err
	}
	defer func() {
		if err := become(0); err != nil {
			panic(err) // the thread must not go on as it is
		}
	}()
	return dial(path)
}

func become(uid uint32) error {
	const same = ^uintptr(0)
	_, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, same, uintptr(uid), same)
	if errno != 0 {
		return os.NewSyscallError("setresuid", errno)
	}
	return nil
}

// dial does not leave its thread, as package net could.
func dial(path string) (*net.UnixConn, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	file := os.NewFile(uintptr(fd), path)
	defer file.Close()
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return nil, os.NewSyscallError("connect", err)
	}
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	unixConn, _ := conn.(*net.UnixConn)
	return unixConn, nil
}

// relay returns a socket whose connections are passed on as the user's, for programs
// that dial for themselves. forth passes on what these say.
func relay(t *testing.T, uid uint32, path string, forth func(from, to net.Conn)) string {
	t.Helper()
	socket := filepath.Join(directory(t), "relay")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			to, err := dialAs(uid, path)
			if err != nil {
				from.Close()
				continue
			}
			go forth(from, to)
			go pass(to, from)
		}
	}()
	return socket
}

// pass copies until one end hangs up, and then hangs up on the other.
func pass(from, to net.Conn) {
	_, _ = io.Copy(to, from)
	to.Close()
	from.Close()
}
