//go:build testhost

package test

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

const busSocket = "/run/dbus/system_bus_socket"

// handOver has a user's process connect, hand the connection over, and end. With reuse
// somebody who may do everything then has the number of the process.
func handOver(t *testing.T, u *user, what told, reuse bool) *wire {
	t.Helper()
	socket := directory(t) + "/socket"
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if err := os.Chmod(socket, 0o777); err != nil {
		t.Fatal(err)
	}
	what.Leave = socket
	u.tell(t, what)
	w := takeOver(t, listener)
	if f := u.answer(t); f.Error != "" {
		t.Fatal(f)
	}
	_ = u.cmd.Wait()
	if reuse {
		takeNumber(t, u.cmd.Process.Pid)
	}
	return w
}

// passOn sends a connection to whoever listens on a socket.
func passOn(conn *net.UnixConn, socket string) error {
	to, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return err
	}
	defer to.Close()
	file, err := conn.File()
	if err != nil {
		return err
	}
	defer file.Close()
	_, _, err = to.WriteMsgUnix([]byte{0}, unix.UnixRights(int(file.Fd())), nil)
	return err
}

// takeOver receives what passOn sends.
func takeOver(t *testing.T, listener *net.UnixListener) *wire {
	t.Helper()
	from, err := listener.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	oob := make([]byte, 100)
	_, n, _, _, err := from.ReadMsgUnix(make([]byte, 1), oob)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		t.Fatalf("%d messages, %v", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fds[0]), "taken over")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	taken, _ := conn.(*net.UnixConn)
	return &wire{taken, bufio.NewReader(taken)}
}

// takeNumber starts a process of the user who may do everything with this number.
func takeNumber(t *testing.T, pid int) {
	t.Helper()
	proc := t.TempDir() // the host's own is read-only in part
	run(t, "mount", "-t", "proc", "proc", proc)
	defer run(t, "umount", proc)
	for range 100 {
		if err := os.WriteFile(proc+"/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0); err != nil {
			t.Fatal(err)
		}
		other := exec.Command("setpriv", "--reuid="+strconv.Itoa(int(allowed)), "--clear-groups", "sleep", "300")
		if err := other.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = other.Process.Kill()
			_ = other.Wait()
		})
		if other.Process.Pid == pid {
			return
		}
	}
	t.Fatalf("process number %d cannot be had again", pid)
}
