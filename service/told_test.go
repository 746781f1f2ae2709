package service

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/polkit"
)

// TestPolkitHostileReplacementWhileItIsAsked has the agent launch the sidecar again in
// another namespace while polkit thinks: what polkit allows is not done to that one.
func TestPolkitHostileReplacementWhileItIsAsked(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"Stop", "Signal", "List of one", "ReadLog of one"} {
		for _, from := range []string{"nothing", "qdhcp-net-1"} {
			h := newFakeHost(t)
			id := h.launched(t)
			if from == "nothing" {
				if _, err := h.core.Stop(t.Context(), dhcpAgent(), interfaces.StopParameters{ID: id}); err != nil {
					t.Fatal(err)
				}
			}
			var told []string
			h.core.Authority = &polkit.Fake{Answer: func(_ context.Context, r polkit.Request) (polkit.Verdict, error) {
				told = append(told, r.Details["network-namespace"])
				if told[len(told)-1] == "qdhcp-net-2" {
					return polkit.Denied, nil
				}
				h.moved(t)
				return polkit.Authorised, nil
			}}
			err := methods(h, somebody(), id, nil)[method](t.Context())
			if !errors.Is(err, interfaces.ErrPermissionDenied) {
				t.Errorf("%s, from %s: %v", method, from, err)
			}
			if len(told) != 2 || told[0] == "qdhcp-net-2" || told[1] != "qdhcp-net-2" {
				t.Errorf("%s, from %s: polkit was told %q", method, from, told)
			}
			if found, err := h.core.List(t.Context(), dhcpAgent(), interfaces.ListParameters{ID: &id}); err != nil || *found[0].Context.NetworkNamespace != "qdhcp-net-2" {
				t.Errorf("%s, from %s: then there is %+v, %v", method, from, found, err)
			}
		}
	}
}

// TestPolkitIsAskedAboutWhereItIsNow has a sidecar launched while polkit is asked about
// what is not there yet: who may do everything is not refused for that. One that never
// stays is given up.
func TestPolkitIsAskedAboutWhereItIsNow(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"Stop", "Signal", "List of one", "ReadLog of one"} {
		for moves, want := range map[int]error{1: nil, 1000: interfaces.ErrPermissionDenied} {
			h := newFakeHost(t)
			id := dnsmasqID("net-1").String()
			asked := 0
			h.core.Authority = &polkit.Fake{Answer: func(context.Context, polkit.Request) (polkit.Verdict, error) {
				if asked++; asked <= moves {
					p := dnsmasqFor("net-1")
					p.NetworkNamespace = new(fmt.Sprint("qdhcp-net-", asked))
					if _, err := h.core.Launch(t.Context(), dhcpAgent(), p); err != nil {
						t.Error(err)
					}
				}
				return polkit.Authorised, nil
			}}
			if err := methods(h, somebody(), id, nil)[method](t.Context()); !errors.Is(err, want) {
				t.Errorf("%s, launched %d times: %v, want %v", method, moves, err, want)
			}
			if asked != min(moves+1, maxAsks) {
				t.Errorf("%s, launched %d times: polkit was asked %d times", method, moves, asked)
			}
		}
	}
}

// moved launches the sidecar of net-1 in another namespace.
func (h *fakeHost) moved(t *testing.T) {
	t.Helper()
	p := dnsmasqFor("net-1")
	p.NetworkNamespace = new("qdhcp-net-2")
	if _, err := h.core.Launch(t.Context(), dhcpAgent(), p); err != nil {
		t.Error(err)
	}
}

// TestPolkitHostileOnewayAsksNobody has a caller not wait for the answer: it could
// leave and have a person say yes to what goes on without it.
func TestPolkitHostileOnewayAsksNobody(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	id := h.launched(t)
	asked := h.asking(polkit.NeedsAuthentication, nil)
	left := somebody()
	left.Oneway = true
	for method, call := range methods(h, left, id, new(true)) {
		if err := call(t.Context()); !errors.Is(err, interfaces.ErrInteractiveAuthenticationRequired) {
			t.Errorf("%s: %v", method, err)
		}
	}
	for _, r := range *asked {
		if r.Interactive {
			t.Errorf("asked with interaction: %+v", r)
		}
	}
}

// TestPolkitHostileLaunchInThePlaceOfAnother has somebody who may launch in one
// namespace take the place of a sidecar in another one, by its pid file's name.
func TestPolkitHostileLaunchInThePlaceOfAnother(t *testing.T) {
	t.Parallel()
	for _, mode := range interfaces.LaunchModes {
		h := newFakeHost(t)
		id := h.launched(t)
		h.moved(t)
		h.asking(polkit.Authorised, nil)
		p := dnsmasqFor("net-1")
		p.Agent, p.Mode = new("neutron-dhcp"), &mode
		started := h.starts()
		if _, err := h.core.Launch(t.Context(), somebody(), p); err == nil {
			t.Errorf("%s: launched", mode)
		}
		if h.starts() != started {
			t.Errorf("%s: something was started", mode)
		}
		if found, err := h.core.List(t.Context(), dhcpAgent(), interfaces.ListParameters{ID: &id}); err != nil || *found[0].Context.NetworkNamespace != "qdhcp-net-2" {
			t.Errorf("%s: then there is %+v, %v", mode, found, err)
		}
		root := Caller{PIDFD: -1}
		if _, err := h.core.Launch(t.Context(), root, p); err != nil && mode == interfaces.ModeReplace {
			t.Errorf("%s by root: %v", mode, err)
		}
	}
}
