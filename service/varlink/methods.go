package varlink

import (
	"context"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service"
)

// Sidecars returns the core as a varlink interface. The table is all there is:
// what a method means is the core's business.
func Sidecars(core *service.Core) Interface {
	return Interface{
		Name:        interfaces.Name,
		Description: interfaces.Description,
		Methods: map[string]Handler{
			"Launch":       Single(core.Launch),
			"Explain":      Single(core.Explain),
			"Stop":         Single(core.Stop),
			"Signal":       Single(core.Signal),
			"List":         list(core),
			"ListProfiles": listProfiles(core),
			"Monitor":      monitor(core),
			"ReadLog":      readLog(core),
		},
	}
}

func list(core *service.Core) Handler {
	return Many(func(ctx context.Context, caller service.Caller, p interfaces.ListParameters, more bool) ([]interfaces.Sidecar, error) {
		sidecars, err := core.List(ctx, caller, p)
		if err == nil && !more && !p.Selects() {
			err = interfaces.ErrExpectedMore
		}
		return sidecars, err
	}, func(s interfaces.Sidecar) interfaces.ListReply { return interfaces.ListReply{Sidecar: s} })
}

func listProfiles(core *service.Core) Handler {
	return Many(func(ctx context.Context, caller service.Caller, p interfaces.ListProfilesParameters, _ bool) ([]interfaces.Profile, error) {
		return core.ListProfiles(ctx, caller, p)
	}, func(p interfaces.Profile) interfaces.ListProfilesReply {
		return interfaces.ListProfilesReply{Profile: p}
	})
}

func monitor(core *service.Core) Handler {
	return Stream(func(ctx context.Context, caller service.Caller, p interfaces.MonitorParameters, send func(r interfaces.MonitorReply, continues bool) error) error {
		return core.Watch(ctx, caller, p, func(e interfaces.Event) error { return send(interfaces.MonitorReply{Event: e}, true) })
	})
}

func readLog(core *service.Core) Handler {
	return Stream(func(ctx context.Context, caller service.Caller, p interfaces.ReadLogParameters, send func(r interfaces.ReadLogReply, continues bool) error) error {
		follow := p.Follow != nil && *p.Follow
		return core.ReadLog(ctx, caller, p, func(e *interfaces.LogEntry) error {
			return send(interfaces.ReadLogReply{Entry: e}, e != nil || follow)
		})
	})
}
