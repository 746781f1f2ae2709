package dbusserver

import (
	"context"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	godbus "github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/dict"
)

// getProperty answers with one property. A property without a value is an error, because
// D-Bus has no null.
func (s *Server) getProperty(ctx context.Context, c *call) ([]any, error) {
	name := c.text(1)
	if err := s.checkProperty(c, name); err != nil {
		return nil, err
	}
	all, err := s.propertiesOf(ctx, c)
	if err != nil {
		return nil, err
	}
	value, ok := all[name]
	if !ok {
		return nil, errorf("UnknownProperty", "%s has no value now", name)
	}
	return []any{value}, nil
}

// getProperties answers with all properties that have a value.
func (s *Server) getProperties(ctx context.Context, c *call) ([]any, error) {
	name := c.text(0)
	if name != "" && !s.objectAt(c.Path).has(name) {
		return nil, errorf("UnknownInterface", "no such interface here: %.80q", name)
	}
	if name != "" && name != interfaces.SidecarInterface && name != interfaces.ManagerInterface {
		return []any{map[string]godbus.Variant{}}, nil
	}
	all, err := s.propertiesOf(ctx, c)
	if err != nil {
		return nil, err
	}
	return []any{all}, nil
}

// setProperty refuses: properties are set by a launch.
func (s *Server) setProperty(_ context.Context, c *call) ([]any, error) {
	if err := s.checkProperty(c, c.text(1)); err != nil {
		return nil, err
	}
	return nil, errorf("PropertyReadOnly", "%s cannot be set", c.text(1))
}

// checkProperty returns an error if the object does not have the property.
func (s *Server) checkProperty(c *call, name string) error {
	for _, i := range s.objectAt(c.Path).interfaces {
		has := slices.ContainsFunc(i.properties, func(p property) bool { return p.name == name })
		if has && (c.text(0) == "" || c.text(0) == i.name) {
			return nil
		}
	}
	return errorf("UnknownProperty", "no such property here: %.80q of %.80q", name, c.text(0))
}

// propertiesOf returns the properties of the object that is called.
func (s *Server) propertiesOf(ctx context.Context, c *call) (map[string]godbus.Variant, error) {
	if c.Path == interfaces.ManagerPath {
		return map[string]godbus.Variant{keyVersion: godbus.MakeVariant(s.config.Version)}, nil
	}
	parsed, ok := interfaces.ParsePath(c.Path)
	if !ok {
		return map[string]godbus.Variant{}, nil
	}
	found, err := s.config.Core.List(ctx, c.caller, interfaces.ListParameters{
		ID: new(parsed.String()), Usage: new(true), AllowInteractiveAuthentication: c.interactive,
	})
	if err != nil {
		return nil, err
	}
	return dict.Encode(found[0]), nil
}

func (o object) has(name string) bool {
	return slices.ContainsFunc(o.interfaces, func(i iface) bool { return i.name == name })
}

func ping(context.Context, *call) ([]any, error) { return nil, nil }

// machineID answers with the ID of the host: machine-id(5).
func machineID(context.Context, *call) ([]any, error) {
	text, err := os.ReadFile("/etc/machine-id")
	if err != nil {
		return nil, err
	}
	return []any{strings.TrimSpace(string(text))}, nil
}

// doctype is the head of every introspection document, from the D-Bus
// specification.
const doctype = `<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">
`

// introspect describes the object that is called, whether or not the sidecar exists. It
// lists the sidecars for root only: others call GetManagedObjects, for which polkit is
// asked.
func (s *Server) introspect(_ context.Context, c *call) ([]any, error) {
	children := childrenOf(c.Path)
	if c.Path == sidecars && c.caller.UID == 0 {
		for _, id := range s.announced.ids() {
			children = append(children, path.Base(string(pathOf(id))))
		}
	}
	return []any{document(s.objectAt(c.Path), children)}, nil
}

// sidecars is the path below which the sidecars' objects are.
var sidecars = strings.TrimSuffix(interfaces.SidecarPrefix, "/")

// childrenOf is the name of the next object on the path to the sidecars.
func childrenOf(at string) []string {
	below, ok := strings.CutPrefix(sidecars, strings.TrimSuffix(at, "/")+"/")
	if !ok {
		return nil
	}
	child, _, _ := strings.Cut(below, "/")
	return []string{child}
}

// document is the introspection document of an object.
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

// objectAt is the kind of object at a path. It has no interfaces if the path has no object.
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
