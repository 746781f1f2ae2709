package dbus

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"tripleo.io/sidecar/interfaces"
)

// doctype is the head of every introspection document, from the D-Bus
// specification.
const doctype = `<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">
`

// introspect describes the object that is called. It says nothing of whether there
// is such a sidecar. Which ones there are it tells root only: for others there is
// GetManagedObjects, and polkit's answer.
func (s *Server) introspect(_ context.Context, c *call) ([]any, error) {
	children := childrenOf(c.path)
	if c.path == sidecars && c.caller.UID == 0 {
		children = s.known.labels()
	}
	return []any{document(s.objectAt(c.path), children)}, nil
}

// sidecars is the path below which the sidecars' objects are.
var sidecars = strings.TrimSuffix(interfaces.SidecarPrefix, "/")

// childrenOf is the name of the next object on the way to the sidecars.
func childrenOf(at string) []string {
	below, ok := strings.CutPrefix(sidecars, strings.TrimSuffix(at, "/")+"/")
	if !ok {
		return nil
	}
	child, _, _ := strings.Cut(below, "/")
	return []string{child}
}

// document is the introspection of an object.
func document(o object, children []string) string {
	var b strings.Builder
	b.WriteString(doctype)
	b.WriteString("<node>\n")
	for _, i := range o.interfaces {
		i.describe(&b)
	}
	for _, child := range children {
		fmt.Fprintf(&b, " <node name=%q/>\n", child)
	}
	b.WriteString("</node>\n")
	return b.String()
}

func (i iface) describe(b *strings.Builder) {
	fmt.Fprintf(b, " <interface name=%q>\n", i.name)
	for _, m := range i.methods {
		fmt.Fprintf(b, "  <method name=%q>\n", m.name)
		describeArguments(b, m.in, ` direction="in"`)
		describeArguments(b, m.out, ` direction="out"`)
		b.WriteString("  </method>\n")
	}
	for _, s := range i.signals {
		fmt.Fprintf(b, "  <signal name=%q>\n", s.name)
		describeArguments(b, s.args, "")
		b.WriteString("  </signal>\n")
	}
	for _, p := range i.properties {
		fmt.Fprintf(b, "  <property name=%q type=%q access=\"read\">\n", p.name, p.signature)
		fmt.Fprintf(b, "   <annotation name=\"org.freedesktop.DBus.Property.EmitsChangedSignal\" value=%q/>\n", p.emits)
		b.WriteString("  </property>\n")
	}
	b.WriteString(" </interface>\n")
}

func describeArguments(b *strings.Builder, all []argument, direction string) {
	for _, a := range all {
		fmt.Fprintf(b, "   <arg name=%q type=%q%s/>\n", a.name, a.signature, direction)
	}
}

// objectAt is the kind of object at a path; it has no interfaces if there is none.
func (s *Server) objectAt(at string) object {
	switch {
	case at == interfaces.ManagerPath:
		return s.tables.manager
	case len(childrenOf(at)) > 0 || at == sidecars:
		return s.tables.branch
	}
	if _, ok := interfaces.ParsePath(at); ok {
		return s.tables.sidecar
	}
	return object{}
}

// labels are the last parts of the paths of all that is known.
func (k *known) labels() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var labels []string
	for _, id := range slices.Sorted(maps.Keys(k.sidecars)) {
		labels = append(labels, path.Base(string(pathOf(id))))
	}
	return labels
}
