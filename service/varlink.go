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
			"List":         varlink.Many(c.sidecars, listReply),
			"ListProfiles": varlink.Many(c.profiles, profileReply),
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

func (c *Core) sidecars(ctx context.Context, peer varlink.Peer, p interfaces.ListParameters, more bool) ([]interfaces.Sidecar, error) {
	sidecars, err := c.List(ctx, callerOf(peer), p)
	if err == nil && !more && !p.Selects() {
		err = interfaces.ErrExpectedMore
	}
	return sidecars, err
}

func (c *Core) profiles(ctx context.Context, peer varlink.Peer, p interfaces.ListProfilesParameters, _ bool) ([]interfaces.Profile, error) {
	return c.ListProfiles(ctx, callerOf(peer), p)
}

func listReply(s interfaces.Sidecar) interfaces.ListReply { return interfaces.ListReply{Sidecar: s} }

func profileReply(p interfaces.Profile) interfaces.ListProfilesReply {
	return interfaces.ListProfilesReply{Profile: p}
}

func (c *Core) sendEvents(ctx context.Context, peer varlink.Peer, p interfaces.MonitorParameters, send func(interfaces.MonitorReply) error) error {
	return c.Watch(ctx, callerOf(peer), p, func(e interfaces.Event) error {
		return send(interfaces.MonitorReply{Event: e})
	})
}
