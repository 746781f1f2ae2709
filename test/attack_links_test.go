//go:build testhost

package test

import (
	"errors"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// reachLinks looks for a link whose other end is in another network namespace, makes a
// link there of the name that is the first argument, and deletes the one that is the
// second.
func reachLinks(arguments []string) map[string]string {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return map[string]string{attackFailed: err.Error()}
	}
	defer conn.Close()
	id, err := farNamespace(conn)
	if err != nil {
		return map[string]string{attackFailed: err.Error()}
	}
	return map[string]string{
		"make":   errorName(changeLink(conn, unix.RTM_NEWLINK, netlink.Create|netlink.Excl, id, arguments[0])),
		"delete": errorName(changeLink(conn, unix.RTM_DELLINK, 0, id, arguments[1])),
	}
}

// sizeofIfinfomsg is the size of struct ifinfomsg, the header of a message about a link
// (rtnetlink(7)).
const sizeofIfinfomsg = 16

// farNamespace returns the ID of the namespace in which a link's other end is.
func farNamespace(conn *netlink.Conn) (int32, error) {
	messages, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETLINK, Flags: netlink.Request | netlink.Dump}, Data: make([]byte, sizeofIfinfomsg),
	})
	if err != nil {
		return -1, err
	}
	for _, m := range messages {
		d, err := netlink.NewAttributeDecoder(m.Data[sizeofIfinfomsg:])
		if err != nil {
			return -1, err
		}
		for d.Next() {
			if d.Type() == unix.IFLA_LINK_NETNSID {
				return d.Int32(), nil
			}
		}
	}
	return -1, errors.New("no link leads to another network namespace")
}

// changeLink makes or deletes a link of a name in the namespace of an ID.
func changeLink(conn *netlink.Conn, kind netlink.HeaderType, flags netlink.HeaderFlags, id int32, name string) error {
	e := netlink.NewAttributeEncoder()
	e.Int32(unix.IFLA_TARGET_NETNSID, id)
	e.String(unix.IFLA_IFNAME, name)
	if kind == unix.RTM_NEWLINK {
		e.Nested(unix.IFLA_LINKINFO, func(e *netlink.AttributeEncoder) error {
			e.String(unix.IFLA_INFO_KIND, "veth")
			return nil
		})
	}
	attributes, err := e.Encode()
	if err != nil {
		return err
	}
	_, err = conn.Execute(netlink.Message{
		Header: netlink.Header{Type: kind, Flags: netlink.Request | netlink.Acknowledge | flags},
		Data:   append(make([]byte, sizeofIfinfomsg), attributes...),
	})
	return err
}
