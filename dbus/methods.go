package dbus

import (
	"context"
	"errors"

	godbus "github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/dict"
)

// launch answers with the sidecar's object, its properties, and what a stand-in
// needs to know, which is empty if the agent has no stand-ins.
func (s *Server) launch(ctx context.Context, c *call) ([]any, error) {
	p, err := c.launchParameters()
	if err != nil {
		return nil, err
	}
	reply, err := s.core.Launch(ctx, c.caller, p)
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
	reply, err := s.core.Explain(ctx, c.caller, p)
	if err != nil {
		return nil, err
	}
	return []any{dict.Encode(reply)}, nil
}

func (s *Server) list(ctx context.Context, c *call) ([]any, error) {
	p := interfaces.ListParameters{AllowInteractiveAuthentication: c.interactive}
	if err := c.options(0, &p); err != nil {
		return nil, err
	}
	found, err := s.core.List(ctx, c.caller, p)
	if err != nil {
		return nil, err
	}
	if err := s.large(ctx, c); err != nil {
		return nil, err
	}
	all := []objectAndProperties{}
	for _, sidecar := range found {
		all = append(all, describe(sidecar))
	}
	return []any{all}, nil
}

func (s *Server) listProfiles(ctx context.Context, c *call) ([]any, error) {
	p := interfaces.ListProfilesParameters{AllowInteractiveAuthentication: c.interactive}
	if err := c.options(0, &p); err != nil {
		return nil, err
	}
	found, err := s.core.ListProfiles(ctx, c.caller, p)
	if err != nil {
		return nil, err
	}
	all := []map[string]godbus.Variant{}
	for _, profile := range found {
		all = append(all, dict.Encode(profile))
	}
	return []any{all}, nil
}

func (s *Server) stop(ctx context.Context, c *call) ([]any, error) {
	return s.stopSidecar(ctx, c, c.text(0), 1)
}

func (s *Server) stopThis(ctx context.Context, c *call) ([]any, error) {
	return s.stopSidecar(ctx, c, c.id(), 0)
}

func (s *Server) stopSidecar(ctx context.Context, c *call, id string, options int) ([]any, error) {
	p := interfaces.StopParameters{ID: id, AllowInteractiveAuthentication: c.interactive}
	if err := c.options(options, &p); err != nil {
		return nil, err
	}
	reply, err := s.core.Stop(ctx, c.caller, p)
	if err != nil {
		return nil, err
	}
	return []any{dict.Encode(reply)}, nil
}

func (s *Server) signal(ctx context.Context, c *call) ([]any, error) {
	return s.signalSidecar(ctx, c, c.text(0), c.text(1))
}

func (s *Server) signalThis(ctx context.Context, c *call) ([]any, error) {
	return s.signalSidecar(ctx, c, c.id(), c.text(0))
}

func (s *Server) signalSidecar(ctx context.Context, c *call, id, name string) ([]any, error) {
	_, err := s.core.Signal(ctx, c.caller, interfaces.SignalParameters{
		ID: id, Signal: name, AllowInteractiveAuthentication: c.interactive,
	})
	return nil, err
}

// managedObjects answers all sidecars, or none: that is no error here.
func (s *Server) managedObjects(ctx context.Context, c *call) ([]any, error) {
	found, err := s.core.List(ctx, c.caller, interfaces.ListParameters{AllowInteractiveAuthentication: c.interactive})
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
