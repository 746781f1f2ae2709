package client

import (
	"context"
	"errors"
	"math"
	"net"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// DefaultTimeout bounds a call whose context has no deadline. The time-out in the
// call's parameters is added to it.
const DefaultTimeout = 5 * time.Minute

// maxCalls is how many calls of one Client are under way at once. The service
// serves 64 connections of an agent at a time, and hangs up on a user's 65th on the
// host's socket (service/varlink's Limits); the rest is for other programs.
const maxCalls = 32

// Client asks one service. It is safe for use by many goroutines, and needs no
// closing.
type Client struct {
	path        string
	dialer      func(ctx context.Context) (net.Conn, error) // nil: to path
	slots       chan struct{}                               // holds one for each call under way
	interactive bool                                        // calls that do not say otherwise may wait for a person
}

// New returns a client of the service at the address: unix:/PATH, /PATH, or "" for
// DefaultAddress. It does not connect; only a malformed address is an error.
func New(address string) (*Client, error) {
	path, err := parseAddress(address)
	if err != nil {
		return nil, err
	}
	return &Client{path: path, slots: make(chan struct{}, maxCalls)}, nil
}

// Address returns the service's address in the form unix:/PATH.
func (c *Client) Address() string { return "unix:" + c.path }

// WithInteractiveAuthentication returns a client whose calls let the service ask a
// person to authenticate (allowInteractiveAuthentication), unless their parameters
// forbid it. It is for programs that a person uses.
func (c *Client) WithInteractiveAuthentication() *Client {
	interactive := *c
	interactive.interactive = true
	return &interactive
}

// WithDialer returns a client that dial connects to the service, for example through another
// host. Calls return an error of dial as it is, unless their context has ended; dial should
// return *UnreachableError.
func (c *Client) WithDialer(dial func(ctx context.Context) (net.Conn, error)) *Client {
	other := *c
	other.dialer = dial
	return &other
}

// Connect makes a connection to the service, for programs that pass a caller's bytes on. It fails
// with *UnreachableError, or because ctx has ended.
func (c *Client) Connect(ctx context.Context) (net.Conn, error) { return c.dial(ctx) }

// allow is what a call says about interactive authentication.
func (c *Client) allow(asked *bool) *bool {
	if asked == nil && c.interactive {
		return &c.interactive
	}
	return asked
}

// complete adds what the caller left out. Arguments must not be null.
func (c *Client) complete(p interfaces.LaunchParameters) interfaces.LaunchParameters {
	if p.Arguments == nil {
		p.Arguments = []string{}
	}
	p.AllowInteractiveAuthentication = c.allow(p.AllowInteractiveAuthentication)
	return p
}

// Launch starts a side process and returns when it is ready. Errors: any of
// package interfaces, among them *ArgumentNotAllowedError and
// *LaunchFailedError, which carries the process's exit code and last output.
func (c *Client) Launch(ctx context.Context, p interfaces.LaunchParameters) (*interfaces.Sidecar, error) {
	reply, err := c.LaunchReply(ctx, p)
	if err != nil {
		return nil, err
	}
	return &reply.Sidecar, nil
}

// LaunchReply is Launch with the service's whole answer, for callers that leave a
// stand-in.
func (c *Client) LaunchReply(ctx context.Context, p interfaces.LaunchParameters) (*interfaces.LaunchReply, error) {
	return one[interfaces.LaunchReply](ctx, c, ours+"Launch", p.TimeoutUSec, c.complete(p))
}

// Explain says what Launch would do with the same parameters, or returns the error
// that Launch would return. Nothing is started.
func (c *Client) Explain(ctx context.Context, p interfaces.LaunchParameters) (*interfaces.ExplainReply, error) {
	return one[interfaces.ExplainReply](ctx, c, ours+"Explain", nil, c.complete(p))
}

// List returns the sidecars that every given selector matches, in the service's
// order. If none matches, the slice is empty; but an ID that does not exist is
// interfaces.ErrNoSuchSidecar.
func (c *Client) List(ctx context.Context, p interfaces.ListParameters) ([]interfaces.Sidecar, error) {
	p.AllowInteractiveAuthentication = c.allow(p.AllowInteractiveAuthentication)
	all, err := each(ctx, c, ours+"List", p, func(r interfaces.ListReply) interfaces.Sidecar { return r.Sidecar })
	// A varlink call has at least one reply: an empty list can only be an error.
	if p.ID == nil && errors.Is(err, interfaces.ErrNoSuchSidecar) {
		return []interfaces.Sidecar{}, nil
	}
	return all, err
}

// Get returns the sidecar with this ID, or interfaces.ErrNoSuchSidecar.
func (c *Client) Get(ctx context.Context, id string) (*interfaces.Sidecar, error) {
	p := interfaces.ListParameters{ID: &id, AllowInteractiveAuthentication: c.allow(nil)}
	reply, err := one[interfaces.ListReply](ctx, c, ours+"List", nil, p)
	if err != nil {
		return nil, err
	}
	return &reply.Sidecar, nil
}

// Stop stops a sidecar and returns when it is gone, with how its process ended
// as far as that is known.
func (c *Client) Stop(ctx context.Context, p interfaces.StopParameters) (*interfaces.StopReply, error) {
	p.AllowInteractiveAuthentication = c.allow(p.AllowInteractiveAuthentication)
	return one[interfaces.StopReply](ctx, c, ours+"Stop", p.TimeoutUSec, p)
}

// Signal sends a signal, by its name such as SIGHUP, to a sidecar's process.
func (c *Client) Signal(ctx context.Context, p interfaces.SignalParameters) error {
	p.AllowInteractiveAuthentication = c.allow(p.AllowInteractiveAuthentication)
	_, err := one[interfaces.SignalReply](ctx, c, ours+"Signal", nil, p)
	return err
}

// ListProfiles returns the profiles that are granted to the agent, or if agent is
// nil every profile that the caller may see.
func (c *Client) ListProfiles(ctx context.Context, agent *string) ([]interfaces.Profile, error) {
	p := interfaces.ListProfilesParameters{Agent: agent, AllowInteractiveAuthentication: c.allow(nil)}
	all, err := each(ctx, c, ours+"ListProfiles", p, func(r interfaces.ListProfilesReply) interfaces.Profile { return r.Profile })
	// The call names no profile, so this error means an empty list.
	if errors.Is(err, interfaces.ErrNoSuchProfile) {
		return []interfaces.Profile{}, nil
	}
	return all, err
}

// CreateNamespace makes a network namespace for an agent.
func (c *Client) CreateNamespace(ctx context.Context, p interfaces.CreateNamespaceParameters) error {
	p.AllowInteractiveAuthentication = c.allow(p.AllowInteractiveAuthentication)
	_, err := one[interfaces.CreateNamespaceReply](ctx, c, ours+"CreateNamespace", nil, p)
	return err
}

// DeleteNamespace deletes a network namespace that CreateNamespace has made for the agent.
func (c *Client) DeleteNamespace(ctx context.Context, p interfaces.DeleteNamespaceParameters) error {
	p.AllowInteractiveAuthentication = c.allow(p.AllowInteractiveAuthentication)
	_, err := one[interfaces.DeleteNamespaceReply](ctx, c, ours+"DeleteNamespace", nil, p)
	return err
}

// Info is what a service says about itself.
type Info struct {
	Vendor     string   `json:"vendor"`
	Product    string   `json:"product"`
	Version    string   `json:"version"`
	URL        string   `json:"url"`
	Interfaces []string `json:"interfaces"` // names of its varlink interfaces
}

// Info asks the service what it is (org.varlink.service.GetInfo).
func (c *Client) Info(ctx context.Context) (*Info, error) {
	return one[Info](ctx, c, "org.varlink.service.GetInfo", nil, nil)
}

// Launcher makes the call Launch, as a Client does.
type Launcher interface {
	LaunchReply(ctx context.Context, p interfaces.LaunchParameters) (*interfaces.LaunchReply, error)
}

// LaunchAgain repeats a launch whose answer was lost, and starts nothing twice. since is the
// time of the first call. A sidecar that runs with the same parameters and was started since
// then is the answer; otherwise LaunchAgain makes the launch as p says.
func LaunchAgain(ctx context.Context, l Launcher, p interfaces.LaunchParameters, since time.Time) (*interfaces.LaunchReply, error) {
	keep := p
	keep.Mode = new(interfaces.ModeKeep)
	reply, err := l.LaunchReply(ctx, keep)
	switch {
	case errors.Is(err, interfaces.ErrSidecarExists), err == nil && !StartedSince(reply.Sidecar, since):
		return l.LaunchReply(ctx, p)
	case err == nil && reply.StandIn != nil:
		reply.StandIn.Adopted = false // it did not run before the first call
	}
	return reply, err
}

// StartedSince reports whether the sidecar's start began at t or later. The host
// and its containers have one clock.
func StartedSince(s interfaces.Sidecar, t time.Time) bool {
	return s.Runtime.StartedUSec != nil && *s.Runtime.StartedUSec >= t.UnixMicro()
}

// WithDeadline bounds a context that has no deadline by DefaultTimeout plus the
// time-out that the service is asked for (nil: none).
func WithDeadline(ctx context.Context, timeoutUSec *int64) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	timeout := DefaultTimeout
	if timeoutUSec != nil && *timeoutUSec > 0 {
		// The service refuses a time-out that is too long; here it must not overflow.
		const longest = math.MaxInt64/int64(time.Microsecond) - int64(DefaultTimeout/time.Microsecond)
		timeout += time.Duration(min(*timeoutUSec, longest)) * time.Microsecond
	}
	return context.WithTimeout(ctx, timeout)
}
