//go:build testhost

package test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// try is a system call of an attack, as it is told to the test.
type try struct {
	name string
	call func() error
}

// scratch is memory for calls that want to read or write some. Globals do not move.
var scratch [64 << 10]byte

func pointer() uintptr { return uintptr(unsafe.Pointer(&scratch)) }

// minusOne is an argument that is no descriptor and no process.
const minusOne = ^uintptr(0)

// raw makes a system call with up to six arguments.
func raw(number uintptr, arguments ...uintptr) func() error {
	arguments = append(arguments, make([]uintptr, 6)...)
	return func() error {
		_, _, errno := unix.Syscall6(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5])
		if errno != 0 {
			return errno
		}
		return nil
	}
}

// trySystemCalls makes every call once.
func trySystemCalls([]string) map[string]string {
	result := map[string]string{}
	for _, tries := range [][]try{refusedTries(), otherEntries(), allowedCalls(), allowedRequests(), needNetAdmin(), needNetRaw()} {
		for _, t := range tries {
			result[t.name] = onThread(t.call)
		}
	}
	return result
}

// onThread makes a call on a thread of its own, which then ends. The kernel ends
// the thread by itself if a filter says so.
func onThread(call func() error) string {
	thread, done := make(chan int, 1), make(chan string, 1)
	var run func()
	run = func() {
		runtime.LockOSThread() // and never unlocked
		if unix.Gettid() == os.Getpid() {
			go run()
			select {} // not the main thread: its number stays until the process ends
		}
		thread <- unix.Gettid()
		done <- errorName(call())
	}
	go run()
	tid := <-thread
	for {
		select {
		case result := <-done:
			return result
		case <-time.After(50 * time.Millisecond):
			if unix.Tgkill(os.Getpid(), tid, 0) == unix.ESRCH {
				return "killed"
			}
		}
	}
}

// errorName returns "ok", an errno's name, or what the error says.
func errorName(err error) string {
	var errno syscall.Errno
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	}
	return err.Error()
}

// refusedTries is all that the filter refuses.
func refusedTries() []try {
	return slices.Concat(refusedCalls(), refusedFamilies(), refusedProtocols(), refusedOptions(), refusedRequests())
}

// refusedCalls are calls that no side process needs. Their arguments are such that
// the kernel would say something else than EPERM, where it looks at them first.
func refusedCalls() []try {
	tries := []try{
		{"add_key", raw(unix.SYS_ADD_KEY)},
		{"keyctl", raw(unix.SYS_KEYCTL, 0 /* KEYCTL_GET_KEYRING_ID */, ^uintptr(3) /* KEY_SPEC_USER_KEYRING */)},
		{"request_key", raw(unix.SYS_REQUEST_KEY)},
		{"unshare user", raw(unix.SYS_UNSHARE, unix.CLONE_NEWUSER)},
		{"unshare net", raw(unix.SYS_UNSHARE, unix.CLONE_NEWNET)},
		{"unshare nothing", raw(unix.SYS_UNSHARE)},
		{"setns", raw(unix.SYS_SETNS, minusOne)},
		{"clone3", raw(unix.SYS_CLONE3)},
		{"ptrace", raw(unix.SYS_PTRACE, unix.PTRACE_PEEKDATA, 1<<30)},
		{"process_vm_readv", raw(unix.SYS_PROCESS_VM_READV, uintptr(os.Getpid()))},
		{"process_vm_writev", raw(unix.SYS_PROCESS_VM_WRITEV, uintptr(os.Getpid()))},
		{"process_madvise", raw(unix.SYS_PROCESS_MADVISE, minusOne)},
		{"process_mrelease", raw(unix.SYS_PROCESS_MRELEASE, minusOne)},
		{"kcmp", raw(unix.SYS_KCMP, uintptr(os.Getpid()), uintptr(os.Getpid()))},
		{"pidfd_getfd", raw(unix.SYS_PIDFD_GETFD, minusOne)},
		{"io_uring_setup", raw(unix.SYS_IO_URING_SETUP, 1, pointer())},
		{"io_uring_enter", raw(unix.SYS_IO_URING_ENTER, minusOne)},
		{"io_uring_register", raw(unix.SYS_IO_URING_REGISTER, minusOne)},
		{"io_setup", raw(unix.SYS_IO_SETUP)},
		{"bpf", raw(unix.SYS_BPF, minusOne)},
		{"perf_event_open", raw(unix.SYS_PERF_EVENT_OPEN)},
		{"userfaultfd", raw(unix.SYS_USERFAULTFD, minusOne)},
		{"memfd_create", raw(unix.SYS_MEMFD_CREATE, pointer())},
		{"memfd_secret", raw(unix.SYS_MEMFD_SECRET)},
		{"execveat", raw(unix.SYS_EXECVEAT, minusOne, pointer())},
		{"remap_file_pages", raw(unix.SYS_REMAP_FILE_PAGES)},
		{"mknodat", raw(unix.SYS_MKNODAT, minusOne, pointer(), unix.S_IFIFO)},
		{"name_to_handle_at", raw(unix.SYS_NAME_TO_HANDLE_AT, minusOne)},
		{"open_by_handle_at", raw(unix.SYS_OPEN_BY_HANDLE_AT, minusOne)},
		{"fanotify_init", raw(unix.SYS_FANOTIFY_INIT)},
		{"fanotify_mark", raw(unix.SYS_FANOTIFY_MARK, minusOne)},
		{"personality", raw(unix.SYS_PERSONALITY, 0xffffffff)},
		{"syslog", raw(unix.SYS_SYSLOG, 10 /* SYSLOG_ACTION_SIZE_BUFFER */)},
		{"mq_open", raw(unix.SYS_MQ_OPEN)},
		{"shmget", raw(unix.SYS_SHMGET, 0, 4096, 0o600)},
		{"semget", raw(unix.SYS_SEMGET, 0, 1, 0o600)},
		{"msgget", raw(unix.SYS_MSGGET, 0, 0o600)},
		{"set_mempolicy", raw(unix.SYS_SET_MEMPOLICY)},
		{"fsetxattr", raw(unix.SYS_FSETXATTR, minusOne)},
		{"pkey_alloc", raw(unix.SYS_PKEY_ALLOC, minusOne)},
		{"ioprio_set", raw(unix.SYS_IOPRIO_SET, minusOne)},
		{"syncfs", raw(unix.SYS_SYNCFS, minusOne)},
		{"vmsplice", raw(unix.SYS_VMSPLICE, minusOne)},
	}
	return append(append(tries, hostCalls()...), cloneCalls()...)
}

// hostCalls are those that are about mounts and the host itself.
func hostCalls() []try {
	return []try{
		{"mount", raw(unix.SYS_MOUNT)},
		{"umount2", raw(unix.SYS_UMOUNT2)},
		{"fsopen", raw(unix.SYS_FSOPEN)},
		{"fsconfig", raw(unix.SYS_FSCONFIG, minusOne)},
		{"fsmount", raw(unix.SYS_FSMOUNT, minusOne)},
		{"fspick", raw(unix.SYS_FSPICK, minusOne)},
		{"open_tree", raw(unix.SYS_OPEN_TREE, minusOne, pointer())},
		{"open_tree_attr", raw(467)},
		{"move_mount", raw(unix.SYS_MOVE_MOUNT, minusOne)},
		{"mount_setattr", raw(unix.SYS_MOUNT_SETATTR, minusOne)},
		{"statmount", raw(457)},
		{"listmount", raw(458)},
		{"listns", raw(470)},
		{"pivot_root", raw(unix.SYS_PIVOT_ROOT)},
		{"chroot", raw(unix.SYS_CHROOT)},
		{"kexec_load", raw(unix.SYS_KEXEC_LOAD)},
		{"init_module", raw(unix.SYS_INIT_MODULE)},
		{"finit_module", raw(unix.SYS_FINIT_MODULE, minusOne)},
		{"delete_module", raw(unix.SYS_DELETE_MODULE)},
		{"swapon", raw(unix.SYS_SWAPON)},
		{"swapoff", raw(unix.SYS_SWAPOFF)},
		{"reboot", raw(unix.SYS_REBOOT)},
		{"acct", raw(unix.SYS_ACCT)},
		{"quotactl", raw(unix.SYS_QUOTACTL)},
		{"quotactl_fd", raw(unix.SYS_QUOTACTL_FD, minusOne)},
		{"settimeofday", raw(unix.SYS_SETTIMEOFDAY)},
		{"clock_settime", raw(unix.SYS_CLOCK_SETTIME, minusOne)},
		{"clock_adjtime", raw(unix.SYS_CLOCK_ADJTIME, minusOne)},
		{"adjtimex", raw(unix.SYS_ADJTIMEX)},
		{"sethostname", raw(unix.SYS_SETHOSTNAME)},
		{"setdomainname", raw(unix.SYS_SETDOMAINNAME)},
		{"vhangup", raw(unix.SYS_VHANGUP)},
	}
}

// cloneCalls start a process in a new namespace.
func cloneCalls() []try {
	var tries []try
	for name, flag := range map[string]uintptr{
		"mount": unix.CLONE_NEWNS, "cgroup": unix.CLONE_NEWCGROUP, "uts": unix.CLONE_NEWUTS, "ipc": unix.CLONE_NEWIPC,
		"user": unix.CLONE_NEWUSER, "pid": unix.CLONE_NEWPID, "net": unix.CLONE_NEWNET,
	} {
		tries = append(tries, try{"clone " + name, func() error { return child(flag) }})
	}
	return tries
}

// child runs this program once more, which ends at once.
func child(flags uintptr) error {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	cmd := childCommand(ctx, "nothing")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	return cmd.Run()
}

// highBits are those that the kernel does not look at in an int.
const highBits = uintptr(1) << 32

// refusedFamilies are all but those that side processes need, and protocols of
// netlink.
func refusedFamilies() []try {
	var tries []try
	add := func(name string, number, family, kind, protocol uintptr) {
		tries = append(tries, try{name, raw(number, family, kind, protocol, pointer())},
			try{name + " with high bits", raw(number, family|highBits, kind, protocol|highBits, pointer())})
	}
	for family := uintptr(0); family < 50; family++ {
		switch family {
		case unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_PACKET, unix.AF_NETLINK:
		default:
			add(fmt.Sprintf("socket %d", family), unix.SYS_SOCKET, family, unix.SOCK_STREAM, 0)
		}
		if family != unix.AF_UNIX {
			add(fmt.Sprintf("socketpair %d", family), unix.SYS_SOCKETPAIR, family, unix.SOCK_STREAM, 0)
		}
	}
	for protocol := uintptr(0); protocol < 32; protocol++ {
		if protocol != unix.NETLINK_ROUTE {
			add(fmt.Sprintf("netlink %d", protocol), unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW, protocol)
		}
	}
	return tries
}
