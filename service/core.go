// Package service is the core: it decides what a caller may start, watch and
// stop, and does it through systemd. Every transport calls the methods of
// [Core], and the caller is a parameter of each of them, so that none can forget
// to authorise.
//
// A call goes through the same steps everywhere: syntax, authorisation, policy
// (package policy, pure), existence of the namespace, document, entry in the journal,
// effect (package systemd), answer. The order matters: a caller without rights does not learn what exists. polkit is asked
// about all callers but agents and root. The policy holds for all of them.
//
// systemd is the only store. A unit carries its document in its environment, so a
// restarted daemon knows everything that the old one knew.
//
// Out of scope: the contents of images and how they come to the host, and the
// configuration of network namespaces.
package service

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/quota"
	"tripleo.io/sidecar/service/engine"
	"tripleo.io/sidecar/service/events"
	"tripleo.io/sidecar/service/launcher"
	"tripleo.io/sidecar/service/lsm"
	"tripleo.io/sidecar/service/policy"
	"tripleo.io/sidecar/service/systemd"
)

// Units is what the core needs of systemd. Package systemd has the real one and
// a fake.
type Units interface {
	// Start starts a transient unit and waits for its job.
	Start(ctx context.Context, name string, properties []systemd.Property) (systemd.Unit, error)
	// Stop stops a unit, removes a failed one, and returns its last state.
	Stop(ctx context.Context, name string, killAfter time.Duration) (systemd.Unit, error)
	// Get reads one unit.
	Get(ctx context.Context, name string) (systemd.Unit, error)
	// List reads all units whose names match the pattern.
	List(ctx context.Context, pattern string) ([]systemd.Unit, error)
	// Trigger starts a unit that is installed, and does not wait for it.
	Trigger(ctx context.Context, name string) error
	// QueueStop has a unit stopped, and does not wait for it.
	QueueStop(ctx context.Context, name string) error
	// SetProperties changes properties of a unit until the next boot.
	SetProperties(ctx context.Context, name string, properties []systemd.Property) error
	// Changes tells which units may have changed.
	Changes() *systemd.Changes
	// Announce has Changes tell of a unit.
	Announce(name string)
}

// Namespaces looks at network namespaces. Its looks are counted for each caller.
type Namespaces interface {
	// Check says what is wrong with the namespace of this name, if anything is. The
	// error is ErrHostFailure if the look itself fails.
	Check(caller Caller, name string) error
	// Has reports whether the process is in the namespace that has this name now.
	Has(caller Caller, name string, pid int) (bool, error)
	// OfCaller returns the name of the namespace that the caller is in, nil for
	// the host's own.
	OfCaller(caller Caller) (*string, error)
}

// Journal keeps decisions and the output of units.
type Journal interface {
	// Record writes one decision.
	Record(d Decision)
	// Output returns the last lines that the processes of a sidecar wrote in one invocation
	// of its unit, which was started then.
	Output(ctx context.Context, id interfaces.ID, invocation string, started time.Time) []string
	// Denials returns the kernel's lines about everything that its security modules have
	// denied since then.
	Denials(ctx context.Context, since time.Time) []string
	// Entries returns the newest entries of sidecars, the oldest first; with an error, those
	// that could be read.
	Entries(ctx context.Context, q LogQuery) ([]interfaces.LogEntry, LogEnd, error)
	// Follow sends newer entries until ctx ends or send fails.
	Follow(ctx context.Context, q LogQuery, end LogEnd, send func(interfaces.LogEntry) error) error
}

// Signaller sends a signal to a process of a unit.
type Signaller interface {
	// Signal sends it if the process belongs to the control group.
	Signal(pid int, controlGroup, signal string) error
}

// Config are the collaborators and paths of a Core. All but Authority are required:
// without it only agents and root are let in.
type Config struct {
	Authority   Authority
	Units       Units
	Namespaces  Namespaces
	Journal     Journal
	Signaller   Signaller
	Launcher    string                                            // path of sidecar-launch; sidecar-init lies beside it
	Podman      string                                            // path of podman
	Runtime     func(name string) string                          // path of an OCI runtime that the host has, "" if it has none of the name
	Images      func() map[string]string                          // the ID of the image that each name stands for, nil if not known
	Seccomp     string                                            // path of the seccomp filter of sidecars whose profile names none
	Syslog      string                                            // path of journald's socket for syslog(3); "" leaves containers without
	Confinement func() lsm.State                                  // which security modules the kernel has
	Frozen      func(invocation string, pid int) bool             // whether the payload of a run is frozen
	Usage       func(unit string, pid int) *interfaces.Usage      // what a unit with this process uses; nil: HostUsage
	Keep        func(templates []string, more bool) (bool, error) // says which templates of images the policy needs (more: besides those so far), and returns whether others may exist; nil: engine.Keep
	Forget      func(sidecars []string)                           // removes what is noted of sidecars that have ended; nil: engine.Forget
	Records     Records                                           // of sidecars that come back after a boot; nil: none does
	BootID      string                                            // of the host's present boot
	DropIns     string                                            // directory in which systemd keeps properties that were set at run time
	Restarted   func(id interfaces.ID, times int64)               // is told of restarts by systemd, and must return at once; nil: nobody is
	Starts      int                                               // how many units are started at once
	KeepFailed  time.Duration                                     // how long failed sidecars are kept, see Tidy
	Leftovers   launcher.Launcher                                 // has the notes of failed removals; the zero value has the host's
	Logger      *slog.Logger
}

// Core is the service behind every transport. Its methods may be called at the
// same time.
type Core struct {
	Config
	policy       atomic.Pointer[policy.Set]
	questions    questions
	locks        *idLocks
	starts       *quota.Quota[string] // by agent, as the next four
	stops        *quota.Quota[string]
	lists        *quota.Quota[string]
	outputs      *quota.Quota[string]
	sandboxes    *quota.Quota[string]
	agentLogs    logQuotas
	operatorLogs logQuotas
	limits       *limits
	slices       *agentSlices
	images       images
	prepareWait  time.Duration
	events       *events.Observer
	recorded     recorded       // sidecars that come back after a boot
	detached     sync.WaitGroup // launches that have begun to start
	sweepDue     chan struct{}  // has an entry when a sweep is asked for
}

// New returns a core that decides by set.
func New(config Config, set *policy.Set) *Core {
	c := &Core{
		Config:       config,
		questions:    newQuestions(),
		locks:        newIDLocks(),
		starts:       quota.Fair[string](config.Starts),
		stops:        quota.Fair[string](2 * config.Starts),
		lists:        quota.Fair[string](config.Starts),
		outputs:      quota.Fair[string](config.Starts),
		sandboxes:    quota.New[string](1, quota.NoLimit),
		agentLogs:    newLogQuotas(),
		operatorLogs: newLogQuotas(),
		limits:       newLimits(),
		slices:       newAgentSlices(),
		sweepDue:     make(chan struct{}, 1),
		prepareWait:  prepareWait,
	}
	if c.Usage == nil {
		c.Usage = HostUsage
	}
	if c.Keep == nil {
		c.Keep = engine.Keep
	}
	if c.Forget == nil {
		c.Forget = engine.Forget
	}
	c.events = events.New(observedUnits{c}, config.Logger)
	c.policy.Store(set)
	return c
}

// SetPolicy makes the core decide by another set from now on. Sidecars that run
// go on; calls that are under way end by the old set.
func (c *Core) SetPolicy(set *policy.Set) {
	c.policy.Store(set)
	c.images.forgetAll()
	c.events.Refresh()
}

// Wait waits until the launches whose callers have left are completed, or for ctx. No other
// method may be called meanwhile.
func (c *Core) Wait(ctx context.Context) error {
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

// Alive takes and releases the locks that every call needs. It hangs if a lock is never
// released, which a watchdog must notice.
func (c *Core) Alive() {
	for _, q := range []interface{ InUse() int }{
		c.questions.quick, c.questions.interactive, c.locks.turns, c.starts, c.stops, c.lists, c.outputs, c.sandboxes,
		c.agentLogs.readers, c.agentLogs.followers, c.operatorLogs.readers, c.operatorLogs.followers,
	} {
		q.InUse()
	}
	for _, mu := range []*sync.Mutex{&c.locks.mu, &c.limits.mu, &c.slices.mu, &c.images.mu, &c.recorded.mu} {
		mu.Lock()
		mu.Unlock() //nolint:staticcheck // one at a time: two at once could deadlock with a call
	}
	c.events.Alive()
}

// caught turns a panic into *err and logs it with its stack. It must be deferred. It
// is for goroutines of the core: a transport catches the panics of its own.
func (c *Core) caught(doing string, err *error) {
	if value := recover(); value != nil {
		c.Logger.Error("panic", "in", doing, "panic", value, "stack", string(debug.Stack()))
		*err = interfaces.Unexpected()
	}
}
