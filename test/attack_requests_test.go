//go:build testhost

package test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctl makes one on a socket, or on /dev/null where a terminal would be
// asked.
func ioctl(number uintptr) func() error {
	return func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if number&0xff00 == 0x5400 {
			fd, err = unix.Open("/dev/null", unix.O_RDWR, 0)
		}
		if err != nil {
			return fmt.Errorf("the descriptor of ioctl: %v", err)
		}
		defer unix.Close(fd)
		return raw(unix.SYS_IOCTL, uintptr(fd), number, pointer())()
	}
}

// requestsOf names ioctls by their numbers, each twice: with bits set beyond those
// that the kernel looks at, too.
func requestsOf(numbers ...uintptr) []try {
	var tries []try
	for _, number := range numbers {
		for _, n := range []uintptr{number, number | highBits} {
			tries = append(tries, try{fmt.Sprintf("ioctl %#x", n), ioctl(n)})
		}
	}
	return tries
}

func refusedRequests() []try {
	return requestsOf(
		unix.SIOCGSKNS, unix.TIOCSTI, 0x541c /* TIOCLINUX */, unix.TIOCSETD, unix.TIOCCONS, unix.TIOCSCTTY, unix.TIOCSWINSZ,
		unix.NS_GET_USERNS, unix.NS_GET_PARENT, 0xff04 /* PIDFD_GET_NET_NAMESPACE */, unix.TUNSETIFF, 0x54e3, /* TUNGETDEVNETNS */
		unix.SIOCBRADDBR, unix.SIOCBRADDIF, 0x8990 /* SIOCBONDENSLAVE */, 0x89e0 /* SIOCPROTOPRIVATE */, 0x89f0, /* SIOCDEVPRIVATE */
		unix.SIOCETHTOOL, unix.SIOCSIFFLAGS, unix.SIOCSIFNAME, unix.FS_IOC_SETFLAGS, unix.FICLONE, 0xc0045877, /* FIFREEZE */
	)
}

// allowedRequests are those that the C library or a shipped program makes.
func allowedRequests() []try {
	return requestsOf(
		unix.TCGETS, unix.TCSETS, unix.TCSETSW, unix.TCSETSF, 0x802c542a, 0x402c542b, 0x402c542c, 0x402c542d, /* TCGETS2, TCSETS2, W, F */
		unix.TIOCGPGRP, unix.TIOCSPGRP, unix.TIOCGWINSZ, unix.TIOCOUTQ, unix.TIOCINQ, 0x5421 /* FIONBIO */, 0x5450, 0x5451, 0x5452, /* FIONCLEX, FIOCLEX, FIOASYNC */
		0x8905 /* SIOCATMARK */, 0x8906 /* SIOCGSTAMP */, 0x8907, /* SIOCGSTAMPNS */
		unix.SIOCGIFNAME, unix.SIOCGIFCONF, unix.SIOCGIFFLAGS, unix.SIOCGIFADDR, unix.SIOCGIFDSTADDR, unix.SIOCGIFBRDADDR,
		unix.SIOCGIFNETMASK, unix.SIOCGIFMTU, unix.SIOCGIFHWADDR, unix.SIOCGIFINDEX,
	)
}

// allowedCalls are those that side processes live by, and that have rules.
func allowedCalls() []try {
	tries := []try{
		{"allowed fork", func() error { return child(0) }},
		{"allowed socketpair", raw(unix.SYS_SOCKETPAIR, unix.AF_UNIX|highBits, unix.SOCK_STREAM, 0, pointer())},
	}
	for name, s := range map[string][3]uintptr{
		"unix": {unix.AF_UNIX, unix.SOCK_STREAM, 0}, "inet": {unix.AF_INET, unix.SOCK_STREAM | unix.SOCK_CLOEXEC, 0},
		"inet6": {unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_UDP}, "route": {unix.AF_NETLINK, unix.SOCK_RAW | unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE},
	} {
		tries = append(tries, try{"allowed socket " + name, raw(unix.SYS_SOCKET, s[0], s[1], s[2])},
			try{"allowed socket " + name + " with high bits", raw(unix.SYS_SOCKET, s[0]|highBits, s[1], s[2]|highBits)})
	}
	return tries
}

// needNetAdmin are calls that the filter lets through, and for which the kernel asks for
// NET_ADMIN.
func needNetAdmin() []try { return requestsOf(unix.SIOCSARP) }

// needNetRaw are those for which it asks for NET_RAW.
func needNetRaw() []try {
	return []try{
		{"packet", raw(unix.SYS_SOCKET, unix.AF_PACKET, unix.SOCK_RAW, 0)},
		{"VRRP", raw(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_RAW, 112)},
		{"AH", raw(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_AH)},
	}
}

// kernelEntry is a way into the kernel for another kind of program than this one. It is
// tried in a process of its own, which may be killed.
type kernelEntry struct {
	call    func() error
	refused []string // the answers that say that there is no way in
}

// entries are the calls of x32 and of 32-bit programs. A filter for our own architecture
// kills the thread or the process. A kernel without x32 answers ENOSYS; without 32-bit
// programs it faults at int 0x80.
var entries = map[string]kernelEntry{
	"entry x32":        {raw(unix.SYS_GETPID | 1<<30) /* __X32_SYSCALL_BIT */, []string{"killed", "SIGSYS", "ENOSYS"}},
	"entry of 32 bits": {callBy32Bits, []string{"killed", "SIGSYS", "SIGSEGV"}},
}

func otherEntries() []try {
	if runtime.GOARCH != "amd64" {
		return nil
	}
	var tries []try
	for name := range entries {
		tries = append(tries, try{name, func() error { return errors.New(childAnswer(name)) }})
	}
	return tries
}

// childAnswer returns what a child says of its call, or else the name of the signal that
// has ended it. Go's runtime ends itself at a SIGSEGV, and says so.
func childAnswer(name string) string {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	said, err := childCommand(ctx, name).Output()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return string(said)
	case ctx.Err() != nil || !errors.As(err, &exit):
		return err.Error()
	}
	if signal := exit.Sys().(syscall.WaitStatus).Signal(); signal > 0 { // -1 if it has exited
		return unix.SignalName(signal)
	}
	if bytes.Contains(exit.Stderr, []byte("SIGSEGV")) {
		return "SIGSEGV"
	}
	return fmt.Sprintf("%v: %.200s", err, exit.Stderr)
}

// childMain is the main function of a payload's child. A thread that the kernel ends
// in the middle of a call looks busy to Go: nothing may wait for all of them.
func childMain(name string) int {
	if name == sayUser {
		fmt.Print(unix.Geteuid())
		return 0
	}
	entry, ok := entries[name]
	if !ok {
		return 0
	}
	debug.SetGCPercent(-1)
	runtime.GOMAXPROCS(4)
	fmt.Print(onThread(entry.call))
	return 0
}

// childCommand runs this program once more.
func childCommand(ctx context.Context, name string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = []string{childVariable + "=" + name}
	return cmd
}

// callBy32Bits makes getpid by int 0x80.
func callBy32Bits() error {
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return fmt.Errorf("memory for the code: %v", err) // not an answer to the call
	}
	const answer = 1024 // where in the page the result goes
	code := append([]byte{
		0xb8, 20, 0, 0, 0, // mov eax, 20 (getpid)
		0xcd, 0x80, // int 0x80
		0x48, 0xa3, // mov [answer], rax
	}, binary.LittleEndian.AppendUint64(nil, uint64(uintptr(unsafe.Pointer(&page[answer]))))...)
	copy(page, append(code, 0xc3 /* ret */))
	entry := &page[0]
	function := &entry // a func value points to a word that holds the code's address
	(*(*func())(unsafe.Pointer(&function)))()
	if got := int32(binary.LittleEndian.Uint32(page[answer:])); got < 0 {
		return unix.Errno(-got)
	}
	return nil
}
