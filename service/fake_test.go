package service

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/launcher"
	"tripleo.io/sidecar/service/lsm"
	"tripleo.io/sidecar/service/policy"
	"tripleo.io/sidecar/service/systemd"
)

// laboratory is an agent with a state directory of its own.
const laboratory = `
profiles           = ["conntrackd", "dibbler-client"]
network-namespaces = ["qrouter-*"]
state-directories  = ["/var/lib/laboratory"]
`

// pocket is an agent in a pid namespace of its own.
const pocket = `
profiles           = ["dnsmasq", "conntrackd"]
network-namespaces = ["qdhcp-*"]
state-directories  = ["/var/lib/pocket"]
stand-ins          = true
`

// clinic is an agent whose dnsmasq is probed.
const clinic = `
profiles           = ["probed"]
network-namespaces = ["qdhcp-*"]
state-directories  = ["/var/lib/clinic"]
`

// fakeHost is a core on a systemd in memory, with the shipped profiles and
// example agents.
type fakeHost struct {
	core     *Core
	started  atomic.Int64
	frozen   atomic.Int64 // process ID, 0: none is
	images   atomic.Pointer[map[string]string]
	runtimes []string // names of the OCI runtimes that the host has
	units    *systemd.Fake
	journal  *fakeJournal
	signals  *fakeSignals
	netns    *fakeNamespaces
}

func newFakeHost(t *testing.T) *fakeHost {
	t.Helper()
	agents := installed(t, "policy/examples/agents.d")
	for name, text := range map[string]string{"laboratory": laboratory, "pocket": pocket, "clinic": clinic} {
		if err := os.WriteFile(filepath.Join(agents, "agents.d", name+".toml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	profiles := installed(t, "policy/profiles.d")
	dnsmasq, err := os.ReadFile("policy/profiles.d/dnsmasq.toml")
	if err != nil {
		t.Fatal(err)
	}
	probed := strings.Replace(string(dnsmasq), "restart = \"on-failure\"", "restart = \"on-failure\"\nhealth = { command = [\"/bin/probe\", \"{dir}\"], action = \"restart\" }", 1)
	if err := os.WriteFile(filepath.Join(profiles, "profiles.d", "probed.toml"), []byte(probed), 0o644); err != nil {
		t.Fatal(err)
	}
	set, err := policy.Load(profiles, agents)
	if err != nil {
		t.Fatal(err)
	}
	h := &fakeHost{
		units:   &systemd.Fake{Digest: new(Documents).Digest},
		journal: &fakeJournal{output: []string{"dnsmasq: failed to create listening socket: Address in use"}},
		signals: &fakeSignals{},
		netns:   &fakeNamespaces{},
	}
	h.units.Before = func(operation, _ string) error {
		if operation == "Start" {
			h.started.Add(1)
		}
		return nil
	}
	h.core = New(Config{
		Units: h.units, Namespaces: h.netns, Journal: h.journal, Signaller: h.signals,
		Launcher: "/usr/libexec/sidecar/sidecar-launch", Podman: "/usr/bin/podman", Runtime: h.runtime, Images: h.imagesNow, Seccomp: "/usr/share/sidecar/seccomp.json", Confinement: func() lsm.State { return lsm.State{} }, Frozen: func(_ string, pid int) bool { return int64(pid) == h.frozen.Load() }, Starts: 4,
		Leftovers: launcher.Launcher{Base: t.TempDir() + "/launch"},
		Logger:    slog.New(slog.DiscardHandler),
	}, set)
	return h
}

// runtime says where an OCI runtime is.
func (h *fakeHost) runtime(name string) string {
	if slices.Contains(h.runtimes, name) {
		return filepath.Join("/usr/bin", name)
	}
	return ""
}

// imagesNow are the IDs of images by their names.
func (h *fakeHost) imagesNow() map[string]string {
	if images := h.images.Load(); images != nil {
		return *images
	}
	return nil
}

// installed copies policy files as make install does: whatever the umask of the
// checkout, nobody else may write them.
func installed(t *testing.T, from string) string {
	t.Helper()
	root := t.TempDir()
	to := filepath.Join(root, filepath.Base(from))
	if err := os.Mkdir(to, 0o755); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(from, "*.toml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s: %v", from, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(filepath.Join(to, filepath.Base(file)), text, 0o644)
		}
		if err == nil {
			err = os.Chmod(filepath.Join(to, filepath.Base(file)), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// starts is how many units were started, in vain or not.
func (h *fakeHost) starts() int { return int(h.started.Load()) }

type fakeJournal struct {
	output  []string
	denials []string
	entries []interfaces.LogEntry
	stuck   error // of Entries

	mu        sync.Mutex
	decisions []Decision
}

func (j *fakeJournal) Record(d Decision) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.decisions = append(j.decisions, d)
}

func (j *fakeJournal) Output(context.Context, interfaces.ID, string, time.Time) []string {
	return j.output
}

func (j *fakeJournal) Denials(context.Context, time.Time) []string { return j.denials }

func (j *fakeJournal) Entries(_ context.Context, q LogQuery) (found []interfaces.LogEntry, _ LogEnd, _ error) {
	for _, e := range j.entries {
		if id, _ := interfaces.ParseID(e.ID); q.Selects(id) {
			found = append(found, e)
		}
	}
	return found, LogEnd{}, j.stuck
}

func (j *fakeJournal) Follow(ctx context.Context, _ LogQuery, _ LogEnd, _ func(interfaces.LogEntry) error) error {
	<-ctx.Done()
	return ctx.Err()
}

// recorded returns the decisions of a method.
func (j *fakeJournal) recorded(method string) []Decision {
	j.mu.Lock()
	defer j.mu.Unlock()
	var found []Decision
	for _, d := range j.decisions {
		if d.Method == method {
			found = append(found, d)
		}
	}
	return found
}

type fakeSignals struct{ sent []string }

func (s *fakeSignals) Signal(_ int, controlGroup, signal string) error {
	s.sent = append(s.sent, controlGroup+" "+signal)
	return nil
}

// fakeNamespaces has every namespace but those in missing. The caller's own is
// own.
type fakeNamespaces struct {
	missing map[string]error
	own     *string
	left    bool  // what runs is in none of the namespaces any more
	unknown error // of Has
}

func (n *fakeNamespaces) Check(_ Caller, name string) error { return n.missing[name] }

func (n *fakeNamespaces) Has(Caller, string, int) (bool, error) { return !n.left, n.unknown }

func (n *fakeNamespaces) OfCaller(Caller) (*string, error) { return n.own, nil }

func dhcpAgent() Caller { return Caller{Agent: "neutron-dhcp", PID: 4711, UID: 42435, PIDFD: -1} }

// dnsmasqFor returns a launch of the network's dnsmasq.
func dnsmasqFor(network string, more ...string) interfaces.LaunchParameters {
	netns := "qdhcp-" + network
	return interfaces.LaunchParameters{
		Profile:          "dnsmasq",
		NetworkNamespace: &netns,
		Arguments:        append([]string{"--pid-file=/var/lib/neutron/dhcp/" + network + "/pid", "--no-hosts"}, more...),
	}
}

func diff(t *testing.T, what string, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}
