package launch

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/service/netns"
)

// What a link from the payload's network namespace to another one means.
const (
	LinksCheck  = "check"  // the unit's log says so
	LinksWarn   = "warn"   // …as a warning
	LinksRefuse = "refuse" // the launch fails
)

// Links says what to do when the payload's network namespace is linked to the host's
// or to one that is not the agent's, mostly by a veth pair. A payload with
// CAP_NET_ADMIN can make, move and delete links there: the kernel asks for the
// capability in the user namespace that owns the other network namespace, and that is
// the host's for all of them (rtnetlink(7), IFLA_TARGET_NETNSID).
type Links struct {
	Action string   `json:"action"` // LinksCheck, LinksWarn or LinksRefuse
	Own    []string `json:"own"`    // patterns with '*' of names that are the agent's
}

func (l *Links) validate() error {
	if l == nil || slices.Contains([]string{LinksCheck, LinksWarn, LinksRefuse}, l.Action) {
		return nil
	}
	return fmt.Errorf("plan: links: action %.40q is none of %s, %s, %s", l.Action, LinksCheck, LinksWarn, LinksRefuse)
}

// owns reports whether a namespace of this name is the agent's.
func (l *Links) owns(name string) bool {
	return slices.ContainsFunc(l.Own, func(pattern string) bool {
		ok, err := path.Match(pattern, name)
		return ok && err == nil
	})
}

// checkLinks carries out what the plan says of links. Links that are added later are
// not noticed, nor are those of the agent's own namespaces that this one is linked to.
// If the journal does not take a line, say hears it.
func (l Launcher) checkLinks(p Plan, say func(error)) error {
	if p.Links == nil || p.NetworkNamespace == "" {
		return nil
	}
	linked, err := l.linked(p)
	if err != nil {
		return fmt.Errorf("looking for links to other network namespaces: %w", err)
	}
	if len(linked) == 0 {
		return nil
	}
	found := fmt.Errorf("network namespace %s is linked to %s: a payload with CAP_NET_ADMIN can change links there (linked-namespaces in the agent's file)",
		p.NetworkNamespace, strings.Join(linked, ", "))
	priority := priorityInfo
	switch p.Links.Action {
	case LinksRefuse:
		return found
	case LinksWarn:
		priority = priorityWarning
	}
	if err := l.log(p, priority, found); err != nil {
		say(errors.Join(found, err))
	}
	return nil
}

// log writes a line to the unit's log.
func (l Launcher) log(p Plan, priority int, line error) error {
	output, err := l.stream(p, priority)
	if err != nil {
		return err
	}
	defer output.Close()
	_, err = fmt.Fprintln(output, line)
	return err
}

// linked names the network namespaces, other than the agent's own, that have an ID in
// the plan's one.
func (l Launcher) linked(p Plan) ([]string, error) {
	config, done, err := l.inNamespace(p)
	if err != nil {
		return nil, err
	}
	defer done()
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: config.NetNS})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ids, err := namespaceIDs(conn)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	return l.nameIDs(conn, p, ids)
}

// namespaceIDs lists the IDs of other namespaces. The kernel gives out the ID of a
// link's other end when somebody asks for the link, so all links are asked for first.
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

// nameIDs names what has these IDs, but for namespaces that are the agent's.
func (l Launcher) nameIDs(conn *netlink.Conn, p Plan, ids map[int32]bool) ([]string, error) {
	var linked []string
	note := func(f *os.File, name string, own bool) error {
		id, err := idOf(conn, f)
		if err != nil || !ids[id] {
			return err
		}
		delete(ids, id)
		if !own {
			linked = append(linked, name)
		}
		return nil
	}
	host, err := l.Namespaces.OpenHost()
	if err == nil {
		err = note(host, "the host's", false)
		host.Close()
	}
	if err != nil {
		return nil, err
	}
	err = l.Namespaces.Each(func(name string, f *os.File) error { return note(f, name, p.Links.owns(name)) })
	if len(ids) > 0 {
		linked = append(linked, fmt.Sprintf("%d without a name in %s", len(ids), netns.DefaultPath))
	}
	return linked, err
}

// idOf returns the ID that a namespace has where conn is, -1 if it has none.
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
