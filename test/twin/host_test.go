package twin

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/polkit"
	"tripleo.io/sidecar/service"
	"tripleo.io/sidecar/service/launcher"
	"tripleo.io/sidecar/service/lsm"
	"tripleo.io/sidecar/service/policy"
	"tripleo.io/sidecar/service/systemd"
)

// payload is the process of every sidecar.
const payload = 4242

// imageID is the ID of every sidecar's image.
var imageID = strings.Repeat("0a", 32)

// images says that the image's name stands for another one by now.
func images() map[string]string {
	return map[string]string{"localhost/neutron-sidecars:1": strings.Repeat("1b", 32)}
}

// usage is what every sidecar uses, on a host without a controller of processes.
func usage(string, int) *interfaces.Usage {
	return &interfaces.Usage{CPUUSec: new(int64(5_000_000)), MemoryBytes: new(int64(6 << 30))}
}

// runtimeOf says that the host has krun.
func runtimeOf(name string) string {
	if name == "krun" {
		return "/usr/bin/krun"
	}
	return ""
}

// host is a core on a systemd and a polkit in memory. What they get is kept.
type host struct {
	core    *service.Core
	units   *systemd.Fake
	journal *journal
	polkit  *authority
	netns   *namespaces
	signals *signals
	sender  string                                             // unique name on the bus of who calls, if it is known before
	broken  atomic.Pointer[func(operation, name string) error] // what systemd does not do
}

// newHost makes a host on which events are observed until the test ends.
func newHost(t *testing.T, set *policy.Set) *host {
	t.Helper()
	h := &host{
		units: &systemd.Fake{
			Digest: new(service.Documents).Digest,
			OnStart: func(string, []systemd.Property) systemd.Outcome {
				return systemd.ReadyAs(launcher.FormatStatus(payload, imageID))
			},
		},
		journal: &journal{}, polkit: &authority{}, netns: &namespaces{}, signals: &signals{},
	}
	h.units.Before = func(operation, name string) error {
		if broken := h.broken.Load(); broken != nil {
			return (*broken)(operation, name)
		}
		return nil
	}
	h.core = service.New(service.Config{
		Authority: h.polkit, Units: h.units, Namespaces: h.netns, Journal: h.journal, Signaller: h.signals,
		Launcher: "/usr/libexec/sidecar/sidecar-launch", Podman: "/usr/bin/podman", Runtime: runtimeOf, Images: images, Seccomp: "/usr/share/sidecar/seccomp.json", Confinement: func() lsm.State { return lsm.State{} }, Frozen: func(string, int) bool { return false }, Usage: usage, Starts: 4,
		Leftovers: launcher.Launcher{Base: t.TempDir() + "/launch"},
		Logger:    slog.New(slog.DiscardHandler),
	}, set)
	ctx, cancel := context.WithCancel(context.Background())
	var observing sync.WaitGroup
	observing.Go(func() { h.core.Observe(ctx) })
	t.Cleanup(func() {
		cancel()
		observing.Wait()
	})
	return h
}

// launched starts a sidecar as root does, before the call that is compared.
func (h *host) launched(t *testing.T, p interfaces.LaunchParameters) {
	t.Helper()
	if _, err := h.core.Launch(t.Context(), service.Caller{PIDFD: -1}, p); err != nil {
		t.Fatal(err)
	}
}

// forget drops what the journal and polkit have got so far.
func (h *host) forget() {
	h.journal.take()
	h.polkit.take()
}

// effects are what has happened to the host.
type effects struct {
	Units   []string // that are there, with their states
	Signals []string
}

func (h *host) effects(t *testing.T) effects {
	t.Helper()
	h.broken.Store(nil)
	var units []systemd.Unit
	eventually(t, "nothing stops any more", func() bool {
		var err error
		if units, err = h.units.List(t.Context(), "sidecar-*.service"); err != nil {
			t.Fatal(err)
		}
		return !slices.ContainsFunc(units, func(u systemd.Unit) bool { return u.ActiveState == "deactivating" })
	})
	e := effects{Signals: h.signals.sent}
	for _, u := range units {
		e.Units = append(e.Units, u.Name+" "+u.ActiveState)
	}
	return e
}

// journal keeps decisions, and has the output of a process.
type journal struct {
	mu        sync.Mutex
	decisions []service.Decision
}

// Record leaves out calls of the test itself, which have no process: some go on while
// the call is made that is compared.
func (j *journal) Record(d service.Decision) {
	if d.Caller.PID == 0 {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.decisions = append(j.decisions, d)
}

func (j *journal) Denials(context.Context, time.Time) []string { return nil }

func (j *journal) Output(context.Context, interfaces.ID, string, time.Time) []string {
	return []string{"dnsmasq: cannot read /etc/resolv.conf", "dnsmasq: \xff is not UTF-8"}
}

// logged are the entries of the sidecar here, and of one that has ended.
var logged = []interfaces.LogEntry{
	{ID: here.String(), TimeUSec: 1, Priority: 6, Identifier: "systemd", ProcessID: new(int64(1)), InvocationID: &imageID, Systemd: true, Message: "Started dnsmasq"},
	{ID: absent.String(), TimeUSec: 2, Priority: 3, Message: "\x1b[2J two\nlines"},
	{ID: other.String(), TimeUSec: 3, Priority: 0, Identifier: "\u202edaemon", Message: ""},
}

// Entries has what is logged, and fails for 13 lines after the first.
func (j *journal) Entries(_ context.Context, q service.LogQuery) ([]interfaces.LogEntry, service.LogEnd, error) {
	var entries []interfaces.LogEntry
	for _, e := range logged {
		id, _ := interfaces.ParseID(e.ID)
		if q.Selects(id) && len(entries) < q.Lines && (q.SinceUSec == nil || e.TimeUSec >= *q.SinceUSec) {
			entries = append(entries, e)
		}
	}
	if q.Lines == 13 {
		return entries, service.LogEnd{}, errors.New("journald does not answer")
	}
	return entries, service.LogEnd{}, nil
}

// Follow repeats the last entry that is selected, and fails then.
func (j *journal) Follow(_ context.Context, q service.LogQuery, _ service.LogEnd, send func(interfaces.LogEntry) error) error {
	for _, e := range slices.Backward(logged) {
		if id, _ := interfaces.ParseID(e.ID); q.Selects(id) {
			return errors.Join(send(e), errors.New("journald does not answer"))
		}
	}
	return errors.New("nothing is logged")
}

func (j *journal) take() []service.Decision {
	j.mu.Lock()
	defer j.mu.Unlock()
	defer func() { j.decisions = nil }()
	return j.decisions
}

// authority is a polkit with one answer, which keeps its questions.
type authority struct {
	answer polkit.Verdict
	err    error
	hang   bool // it answers when the caller has gone

	mu    sync.Mutex
	asked []polkit.Request
}

func (a *authority) Check(ctx context.Context, r polkit.Request) (polkit.Verdict, error) {
	a.mu.Lock()
	a.asked = append(a.asked, r)
	a.mu.Unlock()
	if a.hang {
		<-ctx.Done()
	}
	return a.answer, a.err
}

func (a *authority) take() []polkit.Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer func() { a.asked = nil }()
	return a.asked
}

func (a *authority) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.asked)
}

// namespaces has every namespace but one, and sandboxes only if made says so. We are in the
// host's.
type namespaces struct{ made atomic.Bool }

const missing = "qdhcp-missing"

func (n *namespaces) Check(_ service.Caller, name string) error {
	if name == missing || strings.HasPrefix(name, "sb-") && !n.made.Load() {
		return errors.New("it does not exist")
	}
	return nil
}

func (*namespaces) Has(service.Caller, string, int) (bool, error) { return true, nil }

func (*namespaces) OfCaller(caller service.Caller) (*string, error) {
	if caller.PID == os.Getpid() {
		return nil, nil
	}
	return nil, &interfaces.NoSuchNetworkNamespaceError{Reason: "the calling process is another one"}
}

// signals keeps what is sent.
type signals struct {
	err  error
	sent []string
}

func (s *signals) Signal(_ int, controlGroup, signal string) error {
	if s.err != nil {
		return s.err
	}
	s.sent = append(s.sent, controlGroup+" "+signal)
	return nil
}

// eventually waits until done holds, but not for ever.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}
