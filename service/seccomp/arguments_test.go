package seccomp

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// beyond are bits that the kernel does not look at in an int.
var beyond = []uint64{0, 1 << 32, 0xdeadbeef << 32, 0xffffffff << 32}

func TestHardeningSeccompSockets(t *testing.T) {
	t.Parallel()
	f := shipped(t)
	families := map[uint64]bool{unix.AF_UNIX: true, unix.AF_INET: true, unix.AF_INET6: true, unix.AF_PACKET: true, unix.AF_NETLINK: true}
	for _, arch := range architectures {
		for _, high := range beyond {
			for family := range uint64(64) {
				if got := f.errno(arch, "socket", family|high, unix.SOCK_DGRAM|high, high) == 0; got != families[family] {
					t.Errorf("%s: socket of family %d with %#x: %t", arch, family, high, got)
				}
				if got := f.errno(arch, "socketpair", family|high, unix.SOCK_DGRAM, high) == 0; got != (family == unix.AF_UNIX) {
					t.Errorf("%s: pair of family %d with %#x: %t", arch, family, high, got)
				}
			}
			for protocol := range uint64(64) {
				if got := f.errno(arch, "socket", unix.AF_NETLINK|high, unix.SOCK_RAW, protocol|high) == 0; got != (protocol == unix.NETLINK_ROUTE) {
					t.Errorf("%s: netlink protocol %d with %#x: %t", arch, protocol, high, got)
				}
			}
		}
	}
	if got := f.errno("ppc64le", "socketcall", 1); got != enosys {
		t.Errorf("socketcall on ppc64le: %d, want %d", got, enosys)
	}
}

// TestHardeningSeccompProtocols holds IP sockets to the protocols of the shipped
// programs. The kernel would load a module for others, such as SCTP.
func TestHardeningSeccompProtocols(t *testing.T) {
	t.Parallel()
	f := shipped(t)
	protocols := map[uint64][]uint64{
		unix.SOCK_STREAM: {0, unix.IPPROTO_TCP},
		unix.SOCK_DGRAM:  {0, unix.IPPROTO_UDP},
		unix.SOCK_RAW:    {unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6, 112 /* VRRP */, unix.IPPROTO_AH},
	}
	for _, arch := range architectures {
		for _, high := range beyond {
			for kind := range uint64(16) {
				for protocol := range uint64(300) {
					for _, family := range []uint64{unix.AF_INET, unix.AF_INET6} {
						got := f.errno(arch, "socket", family|high, kind|unix.SOCK_CLOEXEC|high, protocol|high) == 0
						if got != slices.Contains(protocols[kind], protocol) {
							t.Errorf("%s: socket of family %d, type %d, protocol %d with %#x: %t", arch, family, kind, protocol, high, got)
						}
					}
				}
			}
		}
	}
}

// refusedOptions are socket options that no shipped program needs, by level: those from
// which on the kernel's tables are changed (iptables, arptables, ebtables, IPVS, ipset,
// multicast routes), and single ones.
var refusedOptions = map[uint64]func(option uint64) bool{
	unix.SOL_SOCKET: func(uint64) bool { return false },
	unix.SOL_IP:     func(option uint64) bool { return option >= 64 },
	unix.SOL_TCP: func(option uint64) bool {
		return option >= 64 || option == unix.TCP_CONGESTION || option == unix.TCP_ULP
	},
	unix.SOL_IPV6: func(option uint64) bool {
		return option == unix.IPV6_JOIN_ANYCAST || option == unix.IPV6_LEAVE_ANYCAST ||
			option >= 64 && option != unix.IPV6_RECVTCLASS && option != unix.IPV6_TCLASS && (option < 72 || option > 79)
	},
}

// TestHardeningSeccompOptions sets and gets every option of these levels. On s390x there
// is socketcall, and all are let through.
func TestHardeningSeccompOptions(t *testing.T) {
	t.Parallel()
	f := shipped(t)
	for _, arch := range architectures {
		for _, high := range beyond {
			call := func(name string, level, option uint64) bool {
				return f.errno(arch, name, high, level|high, option|high) == 0
			}
			for level, refused := range refusedOptions {
				for option := range uint64(2000) {
					if got := call("setsockopt", level, option); got == refused(option) && arch != "s390x" {
						t.Errorf("%s: setting %d of level %d with %#x: %t", arch, option, level, high, got)
					}
					destination := option == 80 && (level == unix.SOL_IP || level == unix.SOL_IPV6) // SO_ORIGINAL_DST
					if got := call("getsockopt", level, option); got == (refused(option) && !destination) && arch != "s390x" {
						t.Errorf("%s: getting %d of level %d with %#x: %t", arch, option, level, high, got)
					}
				}
			}
			for level := range uint64(300) {
				want := arch == "s390x" || slices.Contains([]uint64{unix.SOL_IP, unix.SOL_SOCKET, unix.SOL_TCP, unix.SOL_UDP, unix.SOL_IPV6, unix.SOL_ICMPV6, unix.SOL_RAW, unix.SOL_NETLINK}, level)
				if got := call("setsockopt", level, 1); got != want {
					t.Errorf("%s: level %d with %#x: %t", arch, level, high, got)
				}
			}
		}
	}
}

// TestHardeningSeccompNetfilter holds the second file to the first: it has one rule more.
func TestHardeningSeccompNetfilter(t *testing.T) {
	t.Parallel()
	f, with := shipped(t), read(t, "seccomp-netfilter.json")
	more := slices.IndexFunc(with.Syscalls, func(r rule) bool { return strings.Contains(r.Comment, "NETLINK_NETFILTER") })
	if more < 0 {
		t.Fatal("it has no rule about NETLINK_NETFILTER")
	}
	for _, arch := range architectures {
		for _, high := range beyond {
			for protocol := range uint64(64) {
				want := protocol == unix.NETLINK_ROUTE || protocol == unix.NETLINK_NETFILTER
				if got := with.errno(arch, "socket", unix.AF_NETLINK|high, unix.SOCK_RAW, protocol|high) == 0; got != want {
					t.Errorf("%s: netlink protocol %d with %#x: %t", arch, protocol, high, got)
				}
			}
		}
	}
	with.Syscalls = slices.Delete(with.Syscalls, more, more+1)
	if diff := cmp.Diff(f, with); diff != "" {
		t.Errorf("without this rule it differs from seccomp.json (-want +got):\n%s", diff)
	}
}

func TestHardeningSeccompClone(t *testing.T) {
	t.Parallel()
	f := shipped(t)
	const thread = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD |
		unix.CLONE_SYSVSEM | unix.CLONE_SETTLS | unix.CLONE_PARENT_SETTID | unix.CLONE_CHILD_CLEARTID
	const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
		unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET
	for _, arch := range architectures {
		call := func(flags uint64) int {
			if arch == "s390x" { // where the two are the other way round (clone(2))
				return f.errno(arch, "clone", namespaces, flags)
			}
			return f.errno(arch, "clone", flags, namespaces)
		}
		for _, high := range beyond {
			for _, flags := range []uint64{thread, uint64(unix.SIGCHLD), unix.CLONE_VM | unix.CLONE_VFORK | unix.CLONE_PIDFD | uint64(unix.SIGCHLD)} {
				if got := call(flags | high); got != 0 {
					t.Errorf("%s: clone(%#x): %d", arch, flags|high, got)
				}
				for bit := range 32 {
					if flag := uint64(1) << bit; flag&namespaces != 0 && call(flags|flag|high) != eperm {
						t.Errorf("%s: clone(%#x) is not refused", arch, flags|flag|high)
					}
				}
			}
		}
		if got := f.errno(arch, "clone3"); got != enosys {
			t.Errorf("%s: clone3: %d, want %d", arch, got, enosys)
		}
	}
}

// requests are the ioctls that are let through everywhere but on ppc64le, from
// asm-generic/ioctls.h and linux/sockios.h.
var requests = map[string]uint64{
	"TCGETS": 0x5401, "TCSETS": 0x5402, "TCSETSW": 0x5403, "TCSETSF": 0x5404,
	"TCGETS2": 0x802c542a, "TCSETS2": 0x402c542b, "TCSETSW2": 0x402c542c, "TCSETSF2": 0x402c542d,
	"TIOCGPGRP": 0x540f, "TIOCSPGRP": 0x5410, "TIOCOUTQ": 0x5411, "TIOCGWINSZ": 0x5413,
	"FIONREAD": 0x541b, "FIONBIO": 0x5421, "FIONCLEX": 0x5450, "FIOCLEX": 0x5451, "FIOASYNC": 0x5452,
	"SIOCATMARK": 0x8905, "SIOCGSTAMP": 0x8906, "SIOCGSTAMPNS": 0x8907,
	"SIOCGIFNAME": unix.SIOCGIFNAME, "SIOCGIFCONF": unix.SIOCGIFCONF, "SIOCGIFFLAGS": unix.SIOCGIFFLAGS,
	"SIOCGIFADDR": unix.SIOCGIFADDR, "SIOCGIFDSTADDR": unix.SIOCGIFDSTADDR, "SIOCGIFBRDADDR": unix.SIOCGIFBRDADDR,
	"SIOCGIFNETMASK": unix.SIOCGIFNETMASK, "SIOCGIFMTU": unix.SIOCGIFMTU, "SIOCGIFHWADDR": unix.SIOCGIFHWADDR,
	"SIOCGIFINDEX": unix.SIOCGIFINDEX, "SIOCSARP": unix.SIOCSARP,
}

// TestHardeningSeccompRequests holds an ioctl's comment to its value, and the value
// to the kernel's.
func TestHardeningSeccompRequests(t *testing.T) {
	t.Parallel()
	f := shipped(t)
	named := map[string]bool{}
	for _, r := range f.Syscalls {
		if !slices.Contains(r.Names, "ioctl") {
			continue
		}
		if len(r.Args) != 1 || r.Args[0].Index != 1 || r.Args[0].Value != 0xffffffff {
			t.Errorf("%s: %+v does not compare the request", r.Comment, r.Args)
			continue
		}
		var name string
		var number uint64
		if _, err := fmt.Sscanf(r.Comment, "%s 0x%x", &name, &number); err != nil || number != r.Args[0].ValueTwo {
			t.Errorf("%q is the comment of %#x: %v", r.Comment, r.Args[0].ValueTwo, err)
		}
		if r.holds("amd64") {
			named[name] = true
			if requests[name] != number {
				t.Errorf("%s is %#x, not %#x", name, requests[name], number)
			}
		}
	}
	if len(named) != len(requests) {
		t.Errorf("it names %d requests, want %d", len(named), len(requests))
	}
}

func TestHardeningSeccompIoctl(t *testing.T) {
	t.Parallel()
	f := shipped(t)
	allowed := func(arch string) map[uint64]bool {
		values := map[uint64]bool{}
		for _, r := range f.Syscalls {
			if r.holds(arch) && slices.Contains(r.Names, "ioctl") {
				values[r.Args[0].ValueTwo] = true
			}
		}
		return values
	}
	dangerous := []uint64{
		unix.SIOCGSKNS, unix.TIOCSTI, 0x541c /* TIOCLINUX */, unix.TIOCSETD, unix.TIOCCONS, unix.TIOCSCTTY,
		unix.NS_GET_USERNS, unix.NS_GET_PARENT, 0xff04 /* PIDFD_GET_NET_NAMESPACE */, unix.TUNSETIFF, 0x54e3, /* TUNGETDEVNETNS */
		unix.SIOCBRADDBR, unix.SIOCBRADDIF, 0x8990 /* SIOCBONDENSLAVE */, 0x89e0 /* SIOCPROTOPRIVATE */, 0x89f0, /* SIOCDEVPRIVATE */
		unix.SIOCETHTOOL, unix.SIOCSIFFLAGS, unix.FICLONE, unix.FS_IOC_SETFLAGS, 0xc0045877 /* FIFREEZE */, 0xc018aa3f, /* UFFDIO_API */
	}
	for _, arch := range architectures {
		values := allowed(arch)
		for request := range values {
			dangerous = append(dangerous, request+1, request-1, request|1<<31, request<<16) // unless let through by themselves
		}
		for _, high := range beyond {
			for request := range values {
				if got := f.errno(arch, "ioctl", 0, request|high); got != 0 {
					t.Errorf("%s: ioctl(%#x): %d", arch, request|high, got)
				}
			}
			for _, request := range dangerous {
				if request&^0xffffffff == 0 && !values[request] && f.errno(arch, "ioctl", 0, request|high) != eperm {
					t.Errorf("%s: ioctl(%#x) is not refused", arch, request|high)
				}
			}
		}
		if values[unix.SIOCGSKNS] || values[unix.TIOCSTI] {
			t.Errorf("%s: it lets SIOCGSKNS or TIOCSTI through", arch)
		}
	}
}
