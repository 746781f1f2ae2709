package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/launcher"
	"tripleo.io/sidecar/service/policy"
	"tripleo.io/sidecar/service/records"
	"tripleo.io/sidecar/service/systemd"
)

// fakeRecords are records in memory, which survive the boots of a test.
type fakeRecords struct {
	mu   sync.Mutex
	all  map[interfaces.ID]records.Record
	full error // of each write
}

func newFakeRecords() *fakeRecords { return &fakeRecords{all: map[interfaces.ID]records.Record{}} }

func (f *fakeRecords) Read(id interfaces.ID) (*records.Record, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, ok := f.all[id]
	if !ok {
		return nil, nil
	}
	return &r, nil
}

func (f *fakeRecords) Write(id interfaces.ID, r records.Record) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.full == nil {
		f.all[id] = r
	}
	return f.full
}

func (f *fakeRecords) Remove(id interfaces.ID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.all, id)
	return nil
}

func (f *fakeRecords) All() (map[interfaces.ID]records.Record, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.all), nil
}

// arguments returns the arguments in the record of the network's dnsmasq, nil without a record.
func (f *fakeRecords) arguments(network string) []string {
	r, _ := f.Read(dnsmasqID(network))
	if r == nil {
		return nil
	}
	return r.Context.Arguments
}

// lateNamespaces have every namespace, but for the service itself only when the time has come.
type lateNamespaces struct {
	fakeNamespaces
	from time.Time
	err  error // until then; nil: that it does not exist
}

func (n *lateNamespaces) Check(caller Caller, name string) error {
	if caller.PID == 0 && time.Now().Before(n.from) {
		return cmp.Or(n.err, errors.New("it does not exist"))
	}
	return n.fakeNamespaces.Check(caller, name)
}

const restoreTimeout = time.Minute

// boots boots a host with these records, whose dnsmasq comes back. Its namespaces exist after
// a while. It must be called within a synctest bubble.
func boots(t *testing.T, disk *fakeRecords, id string, late time.Duration, prepare ...func(*fakeHost)) *fakeHost {
	t.Helper()
	h := newFakeHost(t)
	h.core.Records, h.core.BootID = disk, id
	h.core.Namespaces = &lateNamespaces{from: time.Now().Add(late)}
	h.profile("dnsmasq").RestoreTimeout = restoreTimeout
	for _, f := range prepare {
		f(h)
	}
	h.core.LoadRecords()
	h.observe(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.core.Restore(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return h
}

func (h *fakeHost) profile(name string) *policy.Profile {
	profile, _ := h.core.policy.Load().Profile(name)
	return profile
}

// states are the sidecars' states, by the argument that follows the pid file, if there is one.
func (h *fakeHost) states(t *testing.T) map[string]interfaces.SidecarState {
	t.Helper()
	all, err := h.core.List(t.Context(), dhcpAgent(), interfaces.ListParameters{})
	if err != nil && !errors.Is(err, interfaces.ErrNoSuchSidecar) {
		t.Fatal(err)
	}
	found := map[string]interfaces.SidecarState{}
	for _, s := range all {
		found[s.ID] = s.Runtime.State
	}
	return found
}

func (h *fakeHost) wantStates(t *testing.T, when string, want map[interfaces.ID]interfaces.SidecarState) {
	t.Helper()
	all := map[string]interfaces.SidecarState{}
	for id, state := range want {
		all[id.String()] = state
	}
	diff(t, when, all, h.states(t))
}

func only(network string, state interfaces.SidecarState) map[interfaces.ID]interfaces.SidecarState {
	return map[interfaces.ID]interfaces.SidecarState{dnsmasqID(network): state}
}

func TestLifecycleBootBringsBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disk := newFakeRecords()
		before := boots(t, disk, "b1", 0).launch(t, "net-0")
		h := boots(t, disk, "b2", restoreTimeout/2)
		w := h.watch(t, dhcpAgent(), interfaces.MonitorParameters{})
		id := dnsmasqID("net-0")
		diff(t, "events at first", []string{"present " + id.String() + " waiting", "synchronized"}, w.said())
		got, err := h.core.List(t.Context(), dhcpAgent(), interfaces.ListParameters{ID: new(id.String())})
		if err != nil || len(got) != 1 {
			t.Fatalf("List: %v, %v", got, err)
		}
		diff(t, "request of the one that waits", before.Context, got[0].Context)
		if until := got[0].Runtime.WaitsUntilUSec; until == nil || *until < time.Now().UnixMicro() {
			t.Errorf("it waits until %v", until)
		}
		time.Sleep(restoreTimeout / 2)
		diff(t, "events", []string{"started " + id.String() + " ready", "ready " + id.String() + " ready"}, w.said())
		h.wantStates(t, "in the end", only("net-0", interfaces.StateReady))
		diff(t, "starts", 1, h.starts())
		if r, _ := disk.Read(id); r == nil || r.Boot != "b2" {
			t.Errorf("the record is %+v", r)
		}
		decisions := h.journal.recorded("Restore")
		if len(decisions) != 2 || decisions[0].Err != nil || !decisions[1].Outcome {
			t.Errorf("the journal has %+v", decisions)
		}
	})
}

// TestLifecycleBootAfterEveryEnd: what ran when the host went down comes back, and what
// ended before does not.
func TestLifecycleBootAfterEveryEnd(t *testing.T) {
	t.Parallel()
	unit := dnsmasqID("net-0").Unit()
	for name, test := range map[string]struct {
		end   func(t *testing.T, h *fakeHost)
		comes bool
	}{
		"power loss": {func(*testing.T, *fakeHost) {}, true},
		"shutdown": {func(t *testing.T, h *fakeHost) {
			if _, err := h.units.Start(t.Context(), "shutdown.target", nil); err != nil {
				t.Error(err)
			}
			h.units.Exit(unit, 0)
		}, true},
		"stop": {func(t *testing.T, h *fakeHost) {
			if _, err := h.core.Stop(t.Context(), dhcpAgent(), interfaces.StopParameters{ID: dnsmasqID("net-0").String()}); err != nil {
				t.Error(err)
			}
		}, false},
		"signal":      {func(_ *testing.T, h *fakeHost) { h.units.Exit(unit, 0) }, false},
		"failure":     {func(_ *testing.T, h *fakeHost) { h.units.Exit(unit, 1) }, false},
		"replacement": {func(t *testing.T, h *fakeHost) { h.launch(t, "net-0") }, true},
		"failed replacement": {func(t *testing.T, h *fakeHost) {
			h.units.OnStart = always(systemd.FailedWith(2))
			if _, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor("net-0")); !errors.Is(err, interfaces.ErrLaunchFailed) {
				t.Error(err)
			}
		}, false},
		"not a replacement": {func(t *testing.T, h *fakeHost) {
			p := dnsmasqFor("net-0", "--no-resolv")
			p.Mode = new(interfaces.ModeFail)
			if _, err := h.core.Launch(t.Context(), dhcpAgent(), p); !errors.Is(err, interfaces.ErrSidecarExists) {
				t.Error(err)
			}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				disk := newFakeRecords()
				first := boots(t, disk, "b1", 0)
				first.launch(t, "net-0")
				time.Sleep(time.Second)
				test.end(t, first)
				time.Sleep(time.Second)
				h := boots(t, disk, "b2", 0)
				time.Sleep(3 * time.Second)
				want := map[interfaces.ID]interfaces.SidecarState{}
				if test.comes {
					want = only("net-0", interfaces.StateReady)
				}
				h.wantStates(t, "after the boot", want)
			})
		})
	}
}

// TestLifecycleBootDaemonWasAway: a sidecar that ends while the daemon is away is
// forgotten, and one that runs goes on.
func TestLifecycleBootDaemonWasAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disk := newFakeRecords()
		first := boots(t, disk, "b1", 0)
		first.launch(t, "net-0")
		first.launch(t, "net-1")
		second := boots(t, disk, "b1", 0, func(h *fakeHost) {
			if _, err := h.units.Start(t.Context(), dnsmasqID("net-1").Unit(), nil); err != nil {
				t.Fatal(err)
			}
		})
		time.Sleep(3 * time.Second)
		second.wantStates(t, "after the restart of the daemon", only("net-1", interfaces.StateReady))
		if disk.arguments("net-0") != nil || disk.arguments("net-1") == nil {
			t.Errorf("the records are of %v", slices.Collect(maps.Keys(disk.all)))
		}
	})
}

// TestLifecycleBootGivesUp: a record whose sidecar cannot come back is dropped, and the
// journal says why.
func TestLifecycleBootGivesUp(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		late    time.Duration
		prepare func(*fakeHost)
		want    error
	}{
		"no namespace": {time.Hour, func(*fakeHost) {}, interfaces.ErrNoSuchNetworkNamespace},
		"no profile": {time.Hour, func(h *fakeHost) {
			h.core.policy.Store(&policy.Set{})
		}, interfaces.ErrNoSuchAgent},
		"not any more": {time.Hour, func(h *fakeHost) { h.profile("dnsmasq").RestoreTimeout = 0 }, interfaces.ErrInvalidParameter},
		"too many": {time.Hour, func(h *fakeHost) {
			agent, _ := h.core.policy.Load().Agent("neutron-dhcp")
			agent.MaxSidecars = 0
		}, interfaces.ErrTooManySidecars},
		"not granted": {0, func(h *fakeHost) {
			agent, _ := h.core.policy.Load().Agent("neutron-dhcp")
			agent.Profiles = []string{"haproxy"}
		}, interfaces.ErrNoSuchProfile},
		"it fails":        {0, func(h *fakeHost) { h.units.OnStart = always(systemd.FailedWith(2)) }, interfaces.ErrLaunchFailed},
		"the host failed": {0, func(h *fakeHost) { h.broken(t, "Start") }, interfaces.ErrHostFailure},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				disk := newFakeRecords()
				boots(t, disk, "b1", 0).launch(t, "net-0")
				h := boots(t, disk, "b2", test.late, test.prepare)
				time.Sleep(restoreTimeout + restoreAgain + 2*restorePause)
				for id, state := range h.states(t) {
					if state != interfaces.StateFailed {
						t.Errorf("%s is %s", id, state)
					}
				}
				if left := disk.arguments("net-0"); left != nil {
					t.Errorf("its record is left: %q", left)
				}
				decisions := h.journal.recorded("Restore")
				if len(decisions) == 0 || !errors.Is(decisions[len(decisions)-1].Err, test.want) {
					t.Errorf("the journal has %+v, want %v", decisions, test.want)
				}
			})
		})
	}
}

// TestLifecycleBootHangIsNoEnd: whoever makes looks at /run/netns hang, as every agent can that may
// read it, does not have the sidecars of others given up.
func TestLifecycleBootHangIsNoEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disk := newFakeRecords()
		boots(t, disk, "b1", 0).launch(t, "net-0")
		h := boots(t, disk, "b2", 0, func(h *fakeHost) {
			h.core.Namespaces = &lateNamespaces{from: time.Now().Add(2 * restoreTimeout), err: &interfaces.HostFailureError{Reason: "it hangs"}}
		})
		time.Sleep(restoreTimeout + restoreAgain)
		h.wantStates(t, "while looks hang", only("net-0", interfaces.StateWaiting))
		time.Sleep(restoreTimeout)
		h.wantStates(t, "after that", only("net-0", interfaces.StateReady))
	})
}

// TestLifecycleBootSlowAgent: an agent whose starts take long does not keep
// other agents' sidecars from coming back.
func TestLifecycleBootSlowAgent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disk := newFakeRecords()
		proxies := func(h *fakeHost) { h.profile("haproxy").RestoreTimeout = restoreTimeout }
		first := boots(t, disk, "b1", 0, proxies)
		for i := range 2 * restoreWidth {
			first.launch(t, fmt.Sprintf("net-%d", i))
		}
		reply, err := first.core.Launch(t.Context(), l3Agent(), interfaces.LaunchParameters{
			Profile: "haproxy", NetworkNamespace: new("qrouter-1"), Arguments: []string{"-f", "/var/lib/neutron/ns-metadata-proxy/1.conf"},
		})
		if err != nil {
			t.Fatal(err)
		}
		h := boots(t, disk, "b2", 0, proxies, func(h *fakeHost) {
			h.units.OnStart = func(name string, _ []systemd.Property) systemd.Outcome {
				if strings.HasPrefix(name, "sidecar-neutron-dhcp.") {
					return systemd.Outcome{Delay: 20 * time.Second}
				}
				return systemd.Outcome{}
			}
		})
		time.Sleep(5 * time.Second)
		all, err := h.core.List(t.Context(), l3Agent(), interfaces.ListParameters{})
		if err != nil || len(all) != 1 || all[0].ID != reply.Sidecar.ID || all[0].Runtime.State != interfaces.StateReady {
			t.Errorf("the other agent's are %+v, %v", all, err)
		}
		time.Sleep(10 * time.Minute) // until all have come back
	})
}

// broken makes an operation of systemd fail.
func (h *fakeHost) broken(t *testing.T, operation string) {
	t.Helper()
	h.units.Before = func(o, _ string) error {
		if o == operation {
			return errors.New("no answer")
		}
		return nil
	}
}

// TestLifecycleBootAgentIsFirst: the agent's own launch or stop of a sidecar that waits is the
// one that counts.
func TestLifecycleBootAgentIsFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disk := newFakeRecords()
		first := boots(t, disk, "b1", 0)
		first.launch(t, "net-0")
		first.launch(t, "net-1")
		h := boots(t, disk, "b2", restoreTimeout/2)
		time.Sleep(time.Second)
		w := h.watch(t, dhcpAgent(), interfaces.MonitorParameters{})
		w.said()
		id := dnsmasqID("net-1")
		if _, err := h.core.Stop(t.Context(), dhcpAgent(), interfaces.StopParameters{ID: id.String()}); err != nil {
			t.Error(err)
		}
		diff(t, "events of the stop", []string{"stopped " + id.String()}, w.said())
		if _, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor("net-0", "--no-resolv")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(restoreTimeout)
		h.wantStates(t, "in the end", only("net-0", interfaces.StateReady))
		diff(t, "starts", 1, h.starts())
		diff(t, "record", dnsmasqFor("net-0", "--no-resolv").Arguments, disk.arguments("net-0"))
		if disk.arguments("net-1") != nil {
			t.Error("the record of the stopped one is left")
		}
	})
}

// TestLifecycleBootOrder: a sidecar comes back when those are ready that its profile comes
// after, and its unit is ordered after theirs.
func TestLifecycleBootOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disk := newFakeRecords()
		proxy := interfaces.LaunchParameters{
			Profile: "haproxy", NetworkNamespace: new("qdhcp-net-0"),
			Arguments: []string{"-f", "/var/lib/neutron/ns-metadata-proxy/net-0.conf"},
		}
		proxyID := interfaces.NewID("neutron-dhcp", "haproxy", proxy.Arguments[1])
		ordered := func(h *fakeHost) {
			h.profile("haproxy").RestoreTimeout = restoreTimeout
			h.profile("dnsmasq").After = []string{"haproxy"}
		}
		first := boots(t, disk, "b1", 0, ordered)
		for _, p := range []interfaces.LaunchParameters{proxy, dnsmasqFor("net-0"), dnsmasqFor("net-1")} {
			if _, err := first.core.Launch(t.Context(), dhcpAgent(), p); err != nil {
				t.Fatal(err)
			}
		}
		h := boots(t, disk, "b2", 0, ordered, func(h *fakeHost) {
			h.units.OnStart = always(systemd.Outcome{Delay: 10 * time.Second})
		})
		time.Sleep(5 * time.Second)
		h.wantStates(t, "meanwhile", map[interfaces.ID]interfaces.SidecarState{
			proxyID: interfaces.StateStarting, dnsmasqID("net-0"): interfaces.StateWaiting, dnsmasqID("net-1"): interfaces.StateStarting,
		})
		time.Sleep(20 * time.Second)
		h.wantStates(t, "in the end", map[interfaces.ID]interfaces.SidecarState{
			proxyID: interfaces.StateReady, dnsmasqID("net-0"): interfaces.StateReady, dnsmasqID("net-1"): interfaces.StateReady,
		})
		for network, want := range map[string]string{"net-0": proxyID.Unit(), "net-1": ""} {
			explained, err := h.core.Explain(t.Context(), dhcpAgent(), dnsmasqFor(network))
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, property := range explained.Properties {
				if property.Name == "After" {
					got = property.Value
				}
			}
			diff(t, "After= in "+network, want, got)
		}
	})
}

// TestLifecycleBootNothingTouched: a launch that gives up before it touches anything leaves
// the record of what runs.
func TestLifecycleBootNothingTouched(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disk := newFakeRecords()
		h := boots(t, disk, "b1", 0)
		h.launch(t, "net-0")
		for _, other := range []string{"a", "a", "a", "b"} { // all slots
			if err := h.core.starts.Acquire(t.Context(), other); err != nil {
				t.Fatal(err)
			}
		}
		disk.full = errors.New("no space left on device")
		p := dnsmasqFor("net-0", "--no-resolv")
		p.TimeoutUSec = new(int64(1_000_000))
		if _, err := h.core.Launch(t.Context(), dhcpAgent(), p); !errors.Is(err, interfaces.ErrOverloaded) {
			t.Error(err)
		}
		diff(t, "record with a full disk", dnsmasqFor("net-0").Arguments, disk.arguments("net-0"))
		disk.full = nil
		for network, want := range map[string][]string{"net-0": dnsmasqFor("net-0").Arguments, "net-1": nil} {
			p := dnsmasqFor(network, "--no-resolv")
			p.TimeoutUSec = new(int64(2_000_000))
			launched := make(chan error, 1)
			go func() {
				_, err := h.core.Launch(t.Context(), dhcpAgent(), p)
				launched <- err
			}()
			time.Sleep(time.Second)
			diff(t, "record of the launch that waits", p.Arguments, disk.arguments(network))
			if err := <-launched; !errors.Is(err, interfaces.ErrOverloaded) {
				t.Error(err)
			}
			diff(t, "record afterwards", want, disk.arguments(network))
		}
	})
}

// TestLifecycleBootDiskFails: a launch works without its record, and leaves no older one.
func TestLifecycleBootDiskFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disk := newFakeRecords()
		h := boots(t, disk, "b1", 0)
		h.launch(t, "net-0")
		disk.full = errors.New("no space left on device")
		if _, err := h.core.Launch(t.Context(), dhcpAgent(), dnsmasqFor("net-0", "--no-resolv")); err != nil {
			t.Error(err)
		}
		if left := disk.arguments("net-0"); left != nil {
			t.Errorf("a record is left, of another request: %q", left)
		}
	})
}

// sandboxNamespaces have the namespaces whose units exist.
type sandboxNamespaces struct {
	fakeNamespaces
	units *systemd.Fake
}

func (n *sandboxNamespaces) Check(_ Caller, name string) error {
	if n.units.Starts(sandboxUnit("neutron-dhcp", name)) == 0 {
		return errors.New("it does not exist")
	}
	return nil
}

// TestLifecycleBootSandbox: the namespace that the service has made comes back with its
// sidecars, once, and as far as the policy still allows.
func TestLifecycleBootSandbox(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disk := newFakeRecords()
		granted := func(patterns ...string) func(h *fakeHost) {
			return func(h *fakeHost) {
				h.core.Namespaces = &sandboxNamespaces{units: h.units}
				agent, _ := h.core.policy.Load().Agent("neutron-dhcp")
				agent.CreateNamespaces = patterns
			}
		}
		first := boots(t, disk, "b1", 0, granted("qdhcp-sb-*"))
		if _, err := first.core.CreateNamespace(t.Context(), dhcpAgent(), interfaces.CreateNamespaceParameters{NetworkNamespace: "qdhcp-sb-1"}); err != nil {
			t.Fatal(err)
		}
		ready := map[interfaces.ID]interfaces.SidecarState{}
		for _, network := range []string{"sb-1", "sb-1b"} {
			p := dnsmasqFor(network)
			p.NetworkNamespace = new("qdhcp-sb-1")
			if _, err := first.core.Launch(t.Context(), dhcpAgent(), p); err != nil {
				t.Fatal(err)
			}
			ready[dnsmasqID(network)] = interfaces.StateReady
		}
		second := boots(t, disk, "b2", 0, granted("qdhcp-sb-*"))
		time.Sleep(3 * restorePause)
		second.wantStates(t, "after the boot", ready)
		diff(t, "how often the namespace was made", 1, second.units.Starts(sandboxUnit("neutron-dhcp", "qdhcp-sb-1")))
		third := boots(t, disk, "b3", 0, granted("another-*"))
		time.Sleep(3 * restorePause)
		third.wantStates(t, "after the boot with another policy", map[interfaces.ID]interfaces.SidecarState{})
		if len(disk.all) != 0 {
			t.Errorf("records: %v", disk.all)
		}
	})
}

// TestLifecycleBootHostIsNotReady: what the host fails soon after a boot is tried again.
func TestLifecycleBootHostIsNotReady(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disk := newFakeRecords()
		boots(t, disk, "b1", 0).launch(t, "net-0")
		h := boots(t, disk, "b2", 0, func(h *fakeHost) {
			ready := time.Now().Add(restoreTimeout / 2)
			h.units.OnStart = func(string, []systemd.Property) systemd.Outcome {
				if time.Now().After(ready) {
					return systemd.Outcome{}
				}
				o := systemd.FailedWith(125)
				fail := o.Change
				o.Change = func(u *systemd.Unit) {
					fail(u)
					u.StatusText = launcher.FormatFailure(interfaces.PhasePreparation, errors.New("/var/lib/neutron is not mounted"))
				}
				return o
			}
		})
		time.Sleep(restoreAgain)
		if disk.arguments("net-0") == nil {
			t.Error("the record is gone after the first attempt")
		}
		time.Sleep(restoreTimeout)
		h.wantStates(t, "in the end", only("net-0", interfaces.StateReady))
	})
}

// TestLifecycleBootIDStays: the boot is the same one as long as the host runs.
func TestLifecycleBootIDStays(t *testing.T) {
	t.Parallel()
	first, err := HostBootID()
	if err != nil || !regexp.MustCompile(`^[0-9a-f-]{36}/[0-9]+$`).MatchString(first) {
		t.Fatalf("%q, %v", first, err)
	}
	if second, err := HostBootID(); err != nil || second != first {
		t.Errorf("%q, then %q (%v)", first, second, err)
	}
}
