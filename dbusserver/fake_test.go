package dbusserver

import (
	"context"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service"
)

// fakeCore answers as its fields say. Those that are nil answer nothing.
type fakeCore struct {
	launch   func(ctx context.Context, caller service.Caller, p interfaces.LaunchParameters) (interfaces.LaunchReply, error)
	explain  func(p interfaces.LaunchParameters) (interfaces.ExplainReply, error)
	list     func(caller service.Caller, p interfaces.ListParameters) ([]interfaces.Sidecar, error)
	profiles func(p interfaces.ListProfilesParameters) ([]interfaces.Profile, error)
	log      func(p interfaces.ReadLogParameters, send func(*interfaces.LogEntry) error) error
	stop     func(ctx context.Context, caller service.Caller, p interfaces.StopParameters) (interfaces.StopReply, error)
	signal   func(caller service.Caller, p interfaces.SignalParameters) error
}

func (f *fakeCore) Launch(ctx context.Context, caller service.Caller, p interfaces.LaunchParameters) (interfaces.LaunchReply, error) {
	return f.launch(ctx, caller, p)
}

func (f *fakeCore) Explain(_ context.Context, _ service.Caller, p interfaces.LaunchParameters) (interfaces.ExplainReply, error) {
	return f.explain(p)
}

func (f *fakeCore) List(_ context.Context, caller service.Caller, p interfaces.ListParameters) ([]interfaces.Sidecar, error) {
	return f.list(caller, p)
}

func (f *fakeCore) ListProfiles(_ context.Context, _ service.Caller, p interfaces.ListProfilesParameters) ([]interfaces.Profile, error) {
	return f.profiles(p)
}

func (f *fakeCore) ReadLog(_ context.Context, _ service.Caller, p interfaces.ReadLogParameters, send func(*interfaces.LogEntry) error) error {
	return f.log(p, send)
}

func (f *fakeCore) Stop(ctx context.Context, caller service.Caller, p interfaces.StopParameters) (interfaces.StopReply, error) {
	return f.stop(ctx, caller, p)
}

func (f *fakeCore) Signal(_ context.Context, caller service.Caller, p interfaces.SignalParameters) (interfaces.SignalReply, error) {
	return interfaces.SignalReply{}, f.signal(caller, p)
}

// script is a subscription that gives these events and then waits.
type script struct{ events []interfaces.Event }

func (s *script) Next(ctx context.Context) (interfaces.Event, error) {
	if len(s.events) == 0 {
		<-ctx.Done()
		return interfaces.Event{}, ctx.Err()
	}
	first := s.events[0]
	s.events = s.events[1:]
	return first, nil
}

func (s *script) Close() {}

func pointer[T any](v T) *T { return &v }

const (
	anID      = "neutron-dhcp.dnsmasq.0123456789ab"
	anotherID = "neutron-l3.haproxy.ba9876543210"
)

// aSidecar is one that runs.
func aSidecar(id string) interfaces.Sidecar {
	return interfaces.Sidecar{
		ID:      id,
		Context: &interfaces.Context{Profile: "dnsmasq", Agent: "neutron-dhcp", Arguments: []string{"--no-hosts", ""}, NetworkNamespace: pointer("qdhcp-1")},
		Runtime: interfaces.Runtime{State: interfaces.StateReady, Unit: "sidecar-" + id + ".service", Image: "localhost/i:1", ProcessID: pointer(int64(4711))},
	}
}

// listing is a core that has these sidecars.
func listing(all ...interfaces.Sidecar) *fakeCore {
	return &fakeCore{list: func(_ service.Caller, p interfaces.ListParameters) ([]interfaces.Sidecar, error) {
		var found []interfaces.Sidecar
		for _, s := range all {
			if p.ID == nil || *p.ID == s.ID {
				found = append(found, s)
			}
		}
		if len(found) == 0 {
			return nil, &interfaces.NoSuchSidecarError{ID: p.ID}
		}
		return found, nil
	}}
}

func event(kind interfaces.EventKind, s interfaces.Sidecar) interfaces.Event {
	return interfaces.Event{Kind: kind, ID: &s.ID, Sidecar: &s}
}

func present(s interfaces.Sidecar) interfaces.Event { return event(interfaces.EventPresent, s) }
