package launcher

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/netns"
)

// LinePrefix begins every line of sidecar-launch in the journal of a sidecar's unit: the others
// are the payload's.
const LinePrefix = "sidecar-launch: "

// linksLimit bounds the requests to the kernel about one namespace.
const linksLimit = 5 * time.Second

// checkLinks refuses or logs links to other network namespaces, as the document says. It does
// not see links that are added later. If the line cannot be logged, it is passed to warn.
func (l Launcher) checkLinks(d *document.Document, warn func(error)) error {
	if d.Links == nil || d.NetworkNamespace() == "" {
		return nil
	}
	linked, err := l.linked(d)
	if err != nil {
		return fmt.Errorf("looking for links to other network namespaces: %w", err)
	}
	if len(linked) == 0 {
		return nil
	}
	found := fmt.Errorf("network namespace %s is linked to %s: "+
		"a payload with CAP_NET_ADMIN can change links there (linked-namespaces in the agent's file)",
		d.NetworkNamespace(), quoted(linked))
	priority := priorityInfo
	switch d.Links.Action {
	case document.LinksRefuse:
		return found
	case document.LinksWarn:
		priority = priorityWarning
	}
	output, err := l.stream(d, priority)
	if err == nil {
		_, err = fmt.Fprintln(output, LinePrefix+found.Error())
		output.Close()
	}
	if err != nil {
		warn(errors.Join(found, err))
	}
	return nil
}

// maxFollowed is how many of the agent's namespaces are searched. With DVR, thousands may be
// linked to the same one (fip-).
const maxFollowed = 16

// neighbour is a network namespace to which the payload's may be linked.
type neighbour struct {
	name    string
	file    *os.File
	ofAgent bool // the agent's namespaces are searched for links, too
	found   bool
}

// linked names the network namespaces that the payload reaches and that are not the agent's. A
// namespace is reached from another one if it has an ID there.
func (l Launcher) linked(d *document.Document) ([]string, error) {
	start, err := os.Open(filepath.Join(l.base(), d.ID, netnsName))
	if err != nil {
		return nil, err
	}
	defer start.Close()
	_, all, err := linksOf(start, nil)
	if err != nil || all == 0 {
		return nil, err // nearly always: no other namespace has to be opened
	}
	neighbours, err := l.neighbours(d)
	defer func() {
		for _, n := range neighbours {
			n.file.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	return follow(start, neighbours)
}

// neighbours opens the host's namespace and all that have a name.
func (l Launcher) neighbours(d *document.Document) ([]*neighbour, error) {
	host, err := l.Namespaces.OpenHost()
	if err != nil {
		return nil, err
	}
	all := []*neighbour{{name: "the host's", file: host}}
	err = l.Namespaces.Each(func(name string, f *os.File) error {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err == nil {
			file := os.NewFile(uintptr(fd), name)
			all = append(all, &neighbour{name, file, owns(d.Links, name), name == d.NetworkNamespace()})
		}
		return err
	})
	return all, err
}

// owns reports whether a network namespace of this name is the agent's.
func owns(l *document.Links, name string) bool {
	return slices.ContainsFunc(l.Own, func(pattern string) bool {
		ok, err := path.Match(pattern, name)
		return ok && err == nil
	})
}

// follow finds the links of a namespace, and of the agent's namespaces that are reached.
func follow(start *os.File, neighbours []*neighbour) ([]string, error) {
	var linked []string
	queue := []*os.File{start}
	for followed := 0; len(queue) > 0; followed++ {
		if followed > maxFollowed {
			return append(linked, fmt.Sprintf("more than %d namespaces of the agent, of which only these were searched", maxFollowed)), nil
		}
		found, unnamed, err := linksOf(queue[0], neighbours)
		if err != nil {
			return nil, err
		}
		queue = queue[1:]
		for _, n := range found {
			n.found = true
			if n.ofAgent {
				queue = append(queue, n.file)
			} else {
				linked = append(linked, n.name)
			}
		}
		if unnamed > 0 {
			linked = append(linked, fmt.Sprintf("%d without a name in %s", unnamed, netns.DefaultPath))
		}
	}
	return linked, nil
}

// linksOf returns the neighbours that have an ID in ns and were not found before, and how many
// IDs belong to none of the neighbours.
func linksOf(ns *os.File, neighbours []*neighbour) (found []*neighbour, unnamed int, err error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: int(ns.Fd())})
	if err != nil {
		return nil, 0, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(linksLimit)); err != nil {
		return nil, 0, err
	}
	ids, err := namespaceIDs(conn)
	if err != nil {
		return nil, 0, err
	}
	for _, n := range neighbours {
		if len(ids) == 0 {
			break
		}
		id, err := idOf(conn, n.file)
		if err != nil {
			return nil, 0, err
		}
		if ids[id] && !n.found {
			found = append(found, n)
		}
		delete(ids, id)
	}
	return found, len(ids), nil
}

// namespaceIDs lists the IDs of other namespaces. The kernel assigns the ID of a link's other
// end when the link is requested, so namespaceIDs requests all links first.
func namespaceIDs(conn *netlink.Conn) (map[int32]bool, error) {
	const size = 16 // of struct ifinfomsg; struct rtgenmsg is padded to 4
	if _, err := conn.Execute(request(unix.RTM_GETLINK, netlink.Dump, make([]byte, size))); err != nil {
		return nil, err
	}
	messages, err := conn.Execute(request(unix.RTM_GETNSID, netlink.Dump, make([]byte, 4)))
	if err != nil {
		return nil, err
	}
	ids := map[int32]bool{}
	for _, m := range messages {
		if id, err := namespaceID(m); err != nil {
			return nil, err
		} else if id >= 0 {
			ids[id] = true
		}
	}
	return ids, nil
}

// idOf returns the ID of a namespace in the namespace of conn, -1 if it has none.
func idOf(conn *netlink.Conn, f *os.File) (int32, error) {
	e := netlink.NewAttributeEncoder()
	e.Uint32(unix.NETNSA_FD, uint32(f.Fd()))
	attributes, err := e.Encode()
	if err != nil {
		return -1, err
	}
	messages, err := conn.Execute(request(unix.RTM_GETNSID, 0, append(make([]byte, 4), attributes...)))
	if err != nil {
		return -1, err
	}
	if len(messages) != 1 {
		return -1, fmt.Errorf("%s: %d answers about its ID", f.Name(), len(messages))
	}
	return namespaceID(messages[0])
}

func request(kind netlink.HeaderType, flags netlink.HeaderFlags, data []byte) netlink.Message {
	return netlink.Message{Header: netlink.Header{Type: kind, Flags: netlink.Request | flags}, Data: data}
}

// namespaceID reads NETNSA_NSID of an RTM_NEWNSID message (linux/net_namespace.h).
func namespaceID(m netlink.Message) (int32, error) {
	if len(m.Data) < 4 {
		return -1, fmt.Errorf("a message of %d bytes about a namespace's ID", len(m.Data))
	}
	d, err := netlink.NewAttributeDecoder(m.Data[4:])
	if err != nil {
		return -1, err
	}
	id := int32(-1)
	for d.Next() {
		if d.Type() == unix.NETNSA_NSID {
			id = d.Int32()
		}
	}
	return id, d.Err()
}

// quoted lists names, which agents have chosen, in one line of printable characters.
func quoted(names []string) string {
	var list []string
	for _, name := range names {
		if strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c > '~' }) {
			name = strconv.Quote(name)
		}
		list = append(list, name)
	}
	return strings.Join(list, ", ")
}
