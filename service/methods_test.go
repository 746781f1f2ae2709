package service

import (
	"context"
	"errors"
	"testing"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/polkit"
)

// somebody is on the host and is not root.
func somebody() Caller { return Caller{PID: 4712, UID: 1000, PIDFD: 9} }

// asking lets polkit answer the same to everybody, and keeps the questions.
func (h *fakeHost) asking(verdict polkit.Verdict, err error) *[]polkit.Request {
	asked := &[]polkit.Request{}
	h.core.Authority = &polkit.Fake{Answer: func(_ context.Context, r polkit.Request) (polkit.Verdict, error) {
		*asked = append(*asked, r)
		return verdict, err
	}}
	return asked
}

// methods calls every method about the sidecar with this ID, which need not exist.
func methods(h *fakeHost, caller Caller, id string, interactive *bool) map[string]func(context.Context) error {
	agent, profile := new("neutron-dhcp"), new("dnsmasq")
	launch := dnsmasqFor("net-1")
	launch.Agent, launch.AllowInteractiveAuthentication = agent, interactive
	return map[string]func(context.Context) error{
		"Launch": func(ctx context.Context) error {
			_, err := h.core.Launch(ctx, caller, launch)
			return err
		},
		"Explain": func(ctx context.Context) error {
			_, err := h.core.Explain(ctx, caller, launch)
			return err
		},
		"List": func(ctx context.Context) error {
			_, err := h.core.List(ctx, caller, interfaces.ListParameters{Agent: agent, Profile: profile, NetworkNamespace: new("qdhcp-net-1"), AllowInteractiveAuthentication: interactive})
			return err
		},
		"List of one": func(ctx context.Context) error {
			_, err := h.core.List(ctx, caller, interfaces.ListParameters{ID: &id, AllowInteractiveAuthentication: interactive})
			return err
		},
		"Monitor": func(ctx context.Context) error {
			over := errors.New("over")
			err := h.core.Watch(ctx, caller, interfaces.MonitorParameters{Agent: agent, Profile: profile, AllowInteractiveAuthentication: interactive}, func(interfaces.Event) error { return over })
			if errors.Is(err, over) {
				return nil
			}
			return err
		},
		"ReadLog": func(ctx context.Context) error {
			return h.core.ReadLog(ctx, caller, interfaces.ReadLogParameters{Agent: agent, Profile: profile, AllowInteractiveAuthentication: interactive}, func(*interfaces.LogEntry) error { return nil })
		},
		"ReadLog of one": func(ctx context.Context) error {
			return h.core.ReadLog(ctx, caller, interfaces.ReadLogParameters{ID: &id, AllowInteractiveAuthentication: interactive}, func(*interfaces.LogEntry) error { return nil })
		},
		"ListProfiles": func(ctx context.Context) error {
			_, err := h.core.ListProfiles(ctx, caller, interfaces.ListProfilesParameters{Agent: agent, AllowInteractiveAuthentication: interactive})
			return err
		},
		"Signal": func(ctx context.Context) error {
			_, err := h.core.Signal(ctx, caller, interfaces.SignalParameters{ID: id, Signal: "SIGHUP", AllowInteractiveAuthentication: interactive})
			if errors.Is(err, interfaces.ErrNoSuchSidecar) {
				return nil // it was let in; systemd's fake has no processes
			}
			return err
		},
		"Stop": func(ctx context.Context) error {
			_, err := h.core.Stop(ctx, caller, interfaces.StopParameters{ID: id, AllowInteractiveAuthentication: interactive})
			return err
		},
	}
}

// launched starts a sidecar for the agent neutron-dhcp in qdhcp-net-1.
func (h *fakeHost) launched(t *testing.T) string {
	t.Helper()
	reply, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor("net-1"))
	if err != nil {
		t.Fatal(err)
	}
	return reply.Sidecar.ID
}
