package service

import (
	"context"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/varlink"
)

// Varlink returns the core as a varlink interface. The table is all there is:
// what a method means is the core's business.
func (c *Core) Varlink() varlink.Interface {
	return varlink.Interface{
		Name:        interfaces.Name,
		Description: interfaces.Description,
		Methods: map[string]varlink.Handler{
			"Launch":       single(c.Launch),
			"Explain":      single(c.Explain),
			"Stop":         single(c.Stop),
			"Signal":       single(c.Signal),
			"List":         varlink.Many(c.sendList),
			"ListProfiles": varlink.Many(c.sendProfiles),
			"Monitor":      varlink.Stream(c.sendEvents),
		},
	}
}

// single adapts a method of the core that has one reply.
func single[P, R any](method func(context.Context, Caller, P) (R, error)) varlink.Handler {
	return varlink.Single(func(ctx context.Context, peer varlink.Peer, p P) (R, error) {
		return method(ctx, callerOf(peer), p)
	})
}

func (c *Core) sendList(ctx context.Context, peer varlink.Peer, p interfaces.ListParameters, more bool, send func(interfaces.ListReply) error) error {
	sidecars, err := c.List(ctx, callerOf(peer), p)
	if err != nil {
		return err
	}
	if !more && !p.Selects() {
		return interfaces.ErrExpectedMore
	}
	for _, s := range sidecars {
		if err := send(interfaces.ListReply{Sidecar: s}); err != nil {
			return err
		}
	}
	return nil
}

func (c *Core) sendProfiles(ctx context.Context, peer varlink.Peer, p interfaces.ListProfilesParameters, _ bool, send func(interfaces.ListProfilesReply) error) error {
	profiles, err := c.ListProfiles(ctx, callerOf(peer), p)
	if err != nil {
		return err
	}
	for _, profile := range profiles {
		if err := send(interfaces.ListProfilesReply{Profile: profile}); err != nil {
			return err
		}
	}
	return nil
}

func (c *Core) sendEvents(ctx context.Context, peer varlink.Peer, p interfaces.MonitorParameters, send func(interfaces.MonitorReply) error) error {
	return c.Watch(ctx, callerOf(peer), p, func(e interfaces.Event) error {
		return send(interfaces.MonitorReply{Event: e})
	})
}
