package dbusserver

import (
	"context"
	"errors"

	godbus "github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/dict"
)

// launch answers with the sidecar's object, its properties, and the stand-in, which is
// empty if the agent has no stand-ins.
func (s *Server) launch(ctx context.Context, c *call) ([]any, error) {
	p, err := c.launchParameters()
	if err != nil {
		return nil, err
	}
	reply, err := s.config.Core.Launch(ctx, c.caller, p)
	if err != nil {
		return nil, err
	}
	standIn := map[string]godbus.Variant{}
	if reply.StandIn != nil {
		standIn = dict.Encode(reply.StandIn)
	}
	return []any{pathOf(reply.Sidecar.ID), dict.Encode(reply.Sidecar), standIn}, nil
}

func (s *Server) explain(ctx context.Context, c *call) ([]any, error) {
	p, err := c.launchParameters()
	if err != nil {
		return nil, err
	}
	reply, err := s.config.Core.Explain(ctx, c.caller, p)
	if err != nil {
		return nil, err
	}
	return []any{dict.Encode(reply)}, nil
}

// launchParameters reads the arguments of Launch and of Explain.
func (c *call) launchParameters() (interfaces.LaunchParameters, error) {
	p := interfaces.LaunchParameters{Profile: c.text(0), AllowInteractiveAuthentication: c.interactive}
	p.Arguments, _ = c.arguments[1].([]string)
	err := c.options(2, &p)
	return p, err
}

func (s *Server) list(ctx context.Context, c *call) ([]any, error) {
	p := interfaces.ListParameters{AllowInteractiveAuthentication: c.interactive}
	if err := c.options(0, &p); err != nil {
		return nil, err
	}
	found, err := s.config.Core.List(ctx, c.caller, p)
	if err != nil {
		return nil, err
	}
	if err := s.large(ctx, c); err != nil {
		return nil, err
	}
	type row struct { // (oa{sv})
		Path       godbus.ObjectPath
		Properties map[string]godbus.Variant
	}
	rows := []row{}
	for _, sidecar := range found {
		rows = append(rows, row{pathOf(sidecar.ID), dict.Encode(sidecar)})
	}
	return []any{rows}, nil
}

// managedObjects answers with all sidecars, and without an error if no sidecar exists.
func (s *Server) managedObjects(ctx context.Context, c *call) ([]any, error) {
	found, err := s.config.Core.List(ctx, c.caller, interfaces.ListParameters{AllowInteractiveAuthentication: c.interactive})
	if err != nil && !errors.Is(err, interfaces.ErrNoSuchSidecar) {
		return nil, err
	}
	if err := s.large(ctx, c); err != nil {
		return nil, err
	}
	objects := map[godbus.ObjectPath]map[string]map[string]godbus.Variant{}
	for _, sidecar := range found {
		objects[pathOf(sidecar.ID)] = map[string]map[string]godbus.Variant{interfaces.SidecarInterface: dict.Encode(sidecar)}
	}
	return []any{objects}, nil
}

func (s *Server) listProfiles(ctx context.Context, c *call) ([]any, error) {
	p := interfaces.ListProfilesParameters{AllowInteractiveAuthentication: c.interactive}
	if err := c.options(0, &p); err != nil {
		return nil, err
	}
	found, err := s.config.Core.ListProfiles(ctx, c.caller, p)
	if err != nil {
		return nil, err
	}
	all := []map[string]godbus.Variant{}
	for _, profile := range found {
		all = append(all, dict.Encode(profile))
	}
	return []any{all}, nil
}

// follow is a parameter of ReadLog that D-Bus does not have: its answers are one message.
const follow = "follow"

// readLog answers with the entries that exist.
func (s *Server) readLog(ctx context.Context, c *call) ([]any, error) {
	p := interfaces.ReadLogParameters{AllowInteractiveAuthentication: c.interactive}
	if err := c.options(0, &p, follow); err != nil {
		return nil, err
	}
	entries := []map[string]godbus.Variant{}
	err := s.config.Core.ReadLog(ctx, c.caller, p, func(e *interfaces.LogEntry) error {
		if e == nil {
			return nil
		}
		var err error
		if len(entries) == 0 { // here the call still counts as one that reads, which bounds the waiting ones
			err = s.large(ctx, c)
		}
		entries = append(entries, dict.Encode(e))
		return err
	})
	if err != nil {
		return nil, err
	}
	return []any{entries}, nil
}

// stop is Stop of the manager and of a sidecar.
func (s *Server) stop(ctx context.Context, c *call) ([]any, error) {
	id, next := c.sidecar()
	p := interfaces.StopParameters{ID: id, AllowInteractiveAuthentication: c.interactive}
	if err := c.options(next, &p); err != nil {
		return nil, err
	}
	reply, err := s.config.Core.Stop(ctx, c.caller, p)
	if err != nil {
		return nil, err
	}
	return []any{dict.Encode(reply)}, nil
}

// signal is Signal of the manager and of a sidecar.
func (s *Server) signal(ctx context.Context, c *call) ([]any, error) {
	id, next := c.sidecar()
	_, err := s.config.Core.Signal(ctx, c.caller, interfaces.SignalParameters{
		ID: id, Signal: c.text(next), AllowInteractiveAuthentication: c.interactive,
	})
	return nil, err
}

// pathOf is the object path of the sidecar with a valid ID.
func pathOf(id string) godbus.ObjectPath {
	parsed, _ := interfaces.ParseID(id)
	return godbus.ObjectPath(parsed.Path())
}
