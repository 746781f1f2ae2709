//go:build testhost

package test

import (
	"encoding/binary"
	"fmt"
	"net"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// refusedProtocols are IP protocols that no shipped program speaks. For some of them the
// kernel would load a module.
func refusedProtocols() []try {
	var tries []try
	for name, s := range map[string][2]uintptr{
		"SCTP": {unix.SOCK_STREAM, unix.IPPROTO_SCTP}, "SCTP of packets": {unix.SOCK_SEQPACKET, unix.IPPROTO_SCTP},
		"MPTCP": {unix.SOCK_STREAM, unix.IPPROTO_MPTCP}, "DCCP": {unix.SOCK_DCCP, unix.IPPROTO_DCCP},
		"UDP-Lite": {unix.SOCK_DGRAM, unix.IPPROTO_UDPLITE}, "L2TP": {unix.SOCK_DGRAM, 115},
		"ping": {unix.SOCK_DGRAM, unix.IPPROTO_ICMP}, "IGMP": {unix.SOCK_RAW, unix.IPPROTO_IGMP}, "any protocol": {unix.SOCK_RAW, unix.IPPROTO_RAW}, "ESP": {unix.SOCK_RAW, unix.IPPROTO_ESP},
	} {
		for _, family := range []uintptr{unix.AF_INET, unix.AF_INET6} {
			tries = append(tries, try{fmt.Sprintf("%s in family %d", name, family), raw(unix.SYS_SOCKET, family|highBits, s[0]|unix.SOCK_CLOEXEC, s[1]|highBits)})
		}
	}
	return tries
}

// tables are socket options that no shipped program needs, mostly those that change or
// read the kernel's tables: level and name.
var tables = map[string][2]uintptr{
	"iptables 64": {unix.SOL_IP, 64}, "iptables 65": {unix.SOL_IP, 65}, "ip6tables 64": {unix.SOL_IPV6, 64}, "ip6tables 65": {unix.SOL_IPV6, 65},
	"arptables": {unix.SOL_IP, 96}, "ebtables": {unix.SOL_IP, 128}, "ipset": {unix.SOL_IP, 83}, "IPVS": {unix.SOL_IP, 1152}, "IPVS flush": {unix.SOL_IP, 1157},
	"multicast routes": {unix.SOL_IP, 200}, "multicast routes of IPv6": {unix.SOL_IPV6, 200}, "vsock": {unix.AF_VSOCK, 0}, "XDP": {283, 1},
	"anycast address": {unix.SOL_IPV6, unix.IPV6_JOIN_ANYCAST}, "TCP's upper layer": {unix.SOL_TCP, unix.TCP_ULP}, "congestion control": {unix.SOL_TCP, unix.TCP_CONGESTION},
	"packet ring": {unix.SOL_PACKET, unix.PACKET_RX_RING},
}

func refusedOptions() []try {
	fd := func() (int, error) { return unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0) }
	return optionsOf(fd, true)
}

// optionsOf sets and gets each of the tables' options on a socket.
func optionsOf(open func() (int, error), closes bool) []try {
	var tries []try
	for name, o := range tables {
		for what, number := range map[string]uintptr{"set": unix.SYS_SETSOCKOPT, "get": unix.SYS_GETSOCKOPT} {
			for suffix, high := range map[string]uintptr{"": 0, " with high bits": highBits} {
				tries = append(tries, try{what + " " + name + suffix, func() error {
					fd, err := open()
					if err != nil {
						return fmt.Errorf("the socket of an option: %v", err)
					}
					if closes {
						defer unix.Close(fd)
					}
					return raw(number, uintptr(fd), o[0]|high, o[1]|high, pointer(), 40)()
				}})
			}
		}
	}
	return tries
}

// useLentSocket takes an IP socket and a netlink socket from whoever connects to the path,
// and tries what the kernel asks the capabilities of this program for, in the network
// namespace that the sockets belong to.
func useLentSocket(arguments []string) map[string]string {
	fd, routes, err := lentSockets(arguments[0])
	if err != nil {
		return map[string]string{attackFailed: err.Error()}
	}
	result := map[string]string{"namespace": onThread(raw(unix.SYS_IOCTL, uintptr(fd), unix.SIOCGSKNS))}
	for _, t := range optionsOf(func() (int, error) { return fd, nil }, false) {
		result[t.name] = onThread(t.call)
	}
	for _, t := range []try{
		{"name an interface", raw(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFNAME, pointer())},
		{"change an interface", raw(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFFLAGS, pointer())},
		{"add a route", raw(unix.SYS_IOCTL, uintptr(fd), unix.SIOCADDRT, pointer())},
	} {
		result[t.name] = onThread(t.call)
	}
	result[throughNetlink] = errorName(setLoopbackUp(routes))
	return result
}

// throughNetlink is the one try that nothing stops.
const throughNetlink = "change an interface through netlink"

// setLoopbackUp sends the request with an address: otherwise the kernel also asks whether
// the socket's opener might do that.
func setLoopbackUp(fd int) error {
	loopback := make([]byte, sizeofIfinfomsg)
	binary.NativeEndian.PutUint32(loopback[4:], 1)            // ifi_index
	binary.NativeEndian.PutUint32(loopback[8:], unix.IFF_UP)  // ifi_flags
	binary.NativeEndian.PutUint32(loopback[12:], unix.IFF_UP) // ifi_change
	request, err := netlink.Message{
		Header: netlink.Header{Type: unix.RTM_NEWLINK, Flags: netlink.Request | netlink.Acknowledge, Length: unix.NLMSG_HDRLEN + sizeofIfinfomsg}, Data: loopback,
	}.MarshalBinary()
	if err != nil {
		return err
	}
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return err
	}
	if n < unix.NLMSG_HDRLEN+4 {
		return fmt.Errorf("an answer of %d bytes", n)
	}
	if code := int32(binary.NativeEndian.Uint32(answer[unix.NLMSG_HDRLEN:])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}

func lentSockets(path string) (ip, routes int, err error) {
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return -1, -1, err
	}
	defer listener.Close()
	conn, err := listener.AcceptUnix()
	if err != nil {
		return -1, -1, err
	}
	defer conn.Close()
	space := make([]byte, unix.CmsgSpace(8))
	_, n, _, _, err := conn.ReadMsgUnix(make([]byte, 1), space)
	if err != nil {
		return -1, -1, err
	}
	messages, err := unix.ParseSocketControlMessage(space[:n])
	if err != nil || len(messages) != 1 {
		return -1, -1, fmt.Errorf("%d messages, %v", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 2 {
		return -1, -1, fmt.Errorf("%d descriptors, %v", len(fds), err)
	}
	return fds[0], fds[1], nil
}
