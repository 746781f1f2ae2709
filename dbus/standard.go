package dbus

import (
	"context"
	"os"
	"strings"

	godbus "github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/dict"
)

// getProperty answers one property. What has no value now is an error: D-Bus has no
// null.
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

// getProperties answers all properties that have a value.
func (s *Server) getProperties(ctx context.Context, c *call) ([]any, error) {
	name := c.text(0)
	if name != "" && !s.objectAt(c.path).has(name) {
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

// setProperty refuses: what a sidecar is, a launch decides.
func (s *Server) setProperty(_ context.Context, c *call) ([]any, error) {
	if err := s.checkProperty(c, c.text(1)); err != nil {
		return nil, err
	}
	return nil, errorf("PropertyReadOnly", "%s cannot be set", c.text(1))
}

// checkProperty says whether the object has the property, from the table.
func (s *Server) checkProperty(c *call, name string) error {
	for _, i := range s.objectAt(c.path).interfaces {
		if c.text(0) != "" && c.text(0) != i.name {
			continue
		}
		for _, p := range i.properties {
			if p.name == name {
				return nil
			}
		}
	}
	return errorf("UnknownProperty", "no such property here: %.80q of %.80q", name, c.text(0))
}

// propertiesOf returns those of the object that is called: of a sidecar it asks the
// core.
func (s *Server) propertiesOf(ctx context.Context, c *call) (map[string]godbus.Variant, error) {
	switch {
	case c.path == interfaces.ManagerPath:
		return map[string]godbus.Variant{keyVersion: godbus.MakeVariant(s.version)}, nil
	case !isSidecar(c.path):
		return map[string]godbus.Variant{}, nil
	}
	id := c.id()
	found, err := s.core.List(ctx, c.caller, interfaces.ListParameters{ID: &id, AllowInteractiveAuthentication: c.interactive})
	if err != nil {
		return nil, err
	}
	return dict.Encode(found[0]), nil
}

func isSidecar(path string) bool {
	_, ok := interfaces.ParsePath(path)
	return ok
}

func (o object) has(name string) bool {
	for _, i := range o.interfaces {
		if i.name == name {
			return true
		}
	}
	return false
}

func ping(context.Context, *call) ([]any, error) { return nil, nil }

// machineID answers the ID of the host: machine-id(5).
func machineID(context.Context, *call) ([]any, error) {
	text, err := os.ReadFile("/etc/machine-id")
	if err != nil {
		return nil, err
	}
	return []any{strings.TrimSpace(string(text))}, nil
}
