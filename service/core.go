package service

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"tripleo.io/sidecar/internal/quota"
	"tripleo.io/sidecar/service/events"
	"tripleo.io/sidecar/service/launch"
	"tripleo.io/sidecar/service/lsm"
	"tripleo.io/sidecar/service/policy"
	"tripleo.io/sidecar/service/systemd"
)

// Units is what the core needs of systemd. Package systemd has the real one and
// a fake.
type Units interface {
	// Start starts a transient unit and waits for its job.
	Start(ctx context.Context, name string, properties []systemd.Property) (systemd.Unit, error)
	// Stop stops a unit, forgets a failed one, and returns what it last was.
	Stop(ctx context.Context, name string, killAfter time.Duration) (systemd.Unit, error)
	// Get reads one unit.
	Get(ctx context.Context, name string) (systemd.Unit, error)
	// List reads all units whose names match the pattern.
	List(ctx context.Context, pattern string) ([]systemd.Unit, error)
	// Trigger starts a unit that is installed, and does not wait for it.
	Trigger(ctx context.Context, name string) error
	// Changes tells which units may have changed.
	Changes() *systemd.Changes
}

// Namespaces is what the core needs to know of network namespaces. caller is for whom
// it wants to know.
type Namespaces interface {
	// Check says what is wrong with the namespace of this name, if anything is. The
	// error is ErrHostFailure if that cannot be found out.
	Check(caller Caller, name string) error
	// Has reports whether the process is in the namespace that has this name now.
	Has(caller Caller, name string, pid int) (bool, error)
	// OfCaller returns the name of the namespace that the caller is in, nil for
	// the host's own.
	OfCaller(caller Caller) (*string, error)
}

// Journal keeps decisions and has the output of units.
type Journal interface {
	// Record writes one decision.
	Record(d Decision)
	// Output returns the last lines that the processes of an invocation wrote.
	Output(ctx context.Context, invocation string) []string
	// Denials returns the lines in which the kernel tells what its security modules have
	// denied to anybody since then.
	Denials(ctx context.Context, since time.Time) []string
}

// Signaller sends a signal to a process of a unit.
type Signaller interface {
	// Signal sends it if the process belongs to the control group.
	Signal(pid int, controlGroup, signal string) error
}

// Config are the collaborators and paths of a Core. All are needed but Authority:
// without one only agents and root are let in.
type Config struct {
	Authority   Authority
	Units       Units
	Namespaces  Namespaces
	Journal     Journal
	Signaller   Signaller
	Launcher    string                                // path of sidecar-launch; sidecar-init lies beside it
	Podman      string                                // path of podman
	Seccomp     string                                // path of the seccomp filter of sidecars whose profile names none
	Syslog      string                                // path of journald's socket for syslog(3); "" leaves containers without
	Confinement func() lsm.State                      // what the kernel has of security modules
	Frozen      func(invocation string, pid int) bool // whether the payload of a run is frozen
	Starts      int                                   // how many units are started at once
	Leftovers   launch.Launcher                       // has the notes of what could not be removed; the zero value has the host's
	Logger      *slog.Logger
}

// Core is the service behind every transport. Its methods may be called at the
// same time.
type Core struct {
	Config
	policy    atomic.Pointer[policy.Set]
	questions questions
	locks     *idLocks
	starts    *quota.Quota[string] // by agent, as the next three
	stops     *quota.Quota[string]
	lists     *quota.Quota[string]
	outputs   *quota.Quota[string]
	limits    *limits
	records   records
	events    *events.Observer
	detached  sync.WaitGroup // launches that are being carried through
	sweepDue  chan struct{}  // a sweep is asked for
}

// New returns a core that decides by set.
func New(config Config, set *policy.Set) *Core {
	c := &Core{
		Config:    config,
		questions: newQuestions(),
		locks:     newIDLocks(),
		starts:    quota.Fair[string](config.Starts),
		stops:     quota.Fair[string](2 * config.Starts),
		lists:     quota.Fair[string](config.Starts),
		outputs:   quota.Fair[string](config.Starts),
		limits:    newLimits(),

		sweepDue: make(chan struct{}, 1),
	}
	c.events = events.New(observedUnits{c}, config.Logger)
	c.policy.Store(set)
	return c
}

// SetPolicy makes the core decide by another set from now on. Sidecars that run
// already go on; calls that are under way end by the old set.
func (c *Core) SetPolicy(set *policy.Set) {
	c.policy.Store(set)
	c.events.Refresh()
}

// Drain waits until the launches whose callers have gone are through, or for
// ctx. Nothing new must be asked for meanwhile.
func (c *Core) Drain(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		c.detached.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Alive returns when the locks that every call needs can be had. It hangs if one
// is never given back: that is for a watchdog to find.
func (c *Core) Alive() {
	for _, q := range []interface{ InUse() int }{c.questions.quick, c.questions.interactive, c.locks.turns, c.starts, c.stops, c.lists, c.outputs} {
		q.InUse()
	}
	for _, mu := range []*sync.Mutex{&c.locks.mu, &c.limits.mu, &c.records.mu} {
		mu.Lock()
		mu.Unlock() //nolint:staticcheck // one after the other: who held two could wait for one who takes them in another order
	}
	c.events.Alive()
}
