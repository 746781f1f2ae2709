package twin

import (
	"context"
	"errors"
	"iter"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/polkit"
	"tripleo.io/sidecar/service"
)

// request is a call of a method: one of the contract's, and its parameters as the
// struct that package interfaces has for them.
type request struct {
	method     string
	parameters any
}

// caller is who calls.
type caller struct {
	name   string
	agent  string // whose socket it has; "" is the host's
	uid    uint32
	answer polkit.Verdict
	err    error // of polkit
	waits  bool  // lets a person be asked to authenticate
}

// nobody is a user that every machine has.
const nobody = 65534

var (
	root     = caller{name: "root"}
	operator = caller{name: "operator", uid: nobody, answer: polkit.Authorised}
	agent    = caller{name: "agent", agent: "neutron-dhcp"}
)

// call makes one call. If the call can have many replies, the answer is a slice of what they
// carry; Monitor's answer is the state.
type call func(ctx context.Context, r request) (any, error)

// errNotOffered says that a transport has no such call by its nature.
var errNotOffered = errors.New("not offered")

// transport is a way to the core.
type transport struct {
	name string
	bus  bool // agents have no way there
	open func(t *testing.T, s *suite, h *host, who caller) call
}

// transports are all of them; the first is what the others are held to.
func transports() []transport {
	return []transport{
		{name: "direct", open: direct},
		{name: "varlink", open: overVarlink},
		{name: "client", open: byClient},
		{name: "bus", bus: true, open: overBus},
		{name: "objects", bus: true, open: overObjects},
		{name: "bus client", bus: true, open: byBusClient},
	}
}

// direct calls the core.
func direct(t *testing.T, _ *suite, h *host, who caller) call {
	pidfd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(pidfd) })
	c := service.Caller{Agent: who.agent, PID: os.Getpid(), UID: who.uid, PIDFD: pidfd}
	return func(ctx context.Context, r request) (any, error) {
		switch p := r.parameters.(type) {
		case interfaces.LaunchParameters:
			if r.method == "Launch" {
				return answered(h.core.Launch(ctx, c, p))
			}
			return answered(h.core.Explain(ctx, c, p))
		case interfaces.ListParameters:
			return answered(h.core.List(ctx, c, p))
		case interfaces.StopParameters:
			return answered(h.core.Stop(ctx, c, p))
		case interfaces.SignalParameters:
			return answered(h.core.Signal(ctx, c, p))
		case interfaces.ListProfilesParameters:
			return answered(h.core.ListProfiles(ctx, c, p))
		case interfaces.CreateNamespaceParameters:
			return answered(h.core.CreateNamespace(ctx, c, p))
		case interfaces.DeleteNamespaceParameters:
			return answered(h.core.DeleteNamespace(ctx, c, p))
		case interfaces.MonitorParameters:
			return stateOf(func(take func(interfaces.Event) error) error { return h.core.Watch(ctx, c, p, take) })
		case interfaces.ReadLogParameters:
			var entries []interfaces.LogEntry
			return answered(&entries, h.core.ReadLog(ctx, c, p, func(e *interfaces.LogEntry) error {
				if e != nil {
					entries = append(entries, *e)
				}
				return nil
			}))
		}
		return nil, errNotOffered
	}
}

// answered is an answer, or nothing beside an error.
func answered[T any](answer T, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// entriesIn are the entries of a log up to its end.
func entriesIn(log iter.Seq2[interfaces.LogEntry, error]) (any, error) {
	entries := []interfaces.LogEntry{}
	for e, err := range log {
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return &entries, nil
}

// follows reports whether a request is to follow a log, which D-Bus does not have.
func follows(r request) bool {
	p, ok := r.parameters.(interfaces.ReadLogParameters)
	return ok && p.Follow != nil
}

// stateOf takes the events of a stream up to the first that closes a state.
func stateOf(stream func(take func(interfaces.Event) error) error) (any, error) {
	var events []interfaces.Event
	complete := errors.New("complete")
	err := stream(func(e interfaces.Event) error {
		events = append(events, e)
		if e.Kind == interfaces.EventSynchronized {
			return complete
		}
		return nil
	})
	if errors.Is(err, complete) {
		return events, nil
	}
	return nil, err
}
