package client

import (
	"context"
	"errors"
	"math"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// DefaultTimeout is how long a call may take whose context has no deadline, on
// top of the time-out that its parameters ask for.
const DefaultTimeout = 5 * time.Minute

// maxCalls is how many calls of one Client are under way at once. The service
// serves 64 connections of an agent at a time and lets more wait (service/varlink's
// Limits); on the host's socket it hangs up on a user's 65th. So a burst of hundreds
// waits here, and leaves room for other programs of the same agent.
const maxCalls = 32

// Client asks one service. It is safe for use by many goroutines, and needs no
// closing.
type Client struct {
	path        string
	slots       chan struct{} // holds one for each call under way
	interactive bool          // calls that do not say otherwise may wait for a person
}

// New returns a client of the service at the address: unix:/PATH, /PATH, or
// nothing for DefaultAddress. It does not connect; only a malformed address is
// an error.
func New(address string) (*Client, error) {
	path, err := parseAddress(address)
	if err != nil {
		return nil, err
	}
	return &Client{path: path, slots: make(chan struct{}, maxCalls)}, nil
}

// Address returns the service's address in the form unix:/PATH.
func (c *Client) Address() string { return "unix:" + c.path }

// WithInteractiveAuthentication returns the same client, whose calls say that a
// person may be asked to authenticate (allowInteractiveAuthentication), unless
// their parameters say that none may. It is for programs that a person uses.
func (c *Client) WithInteractiveAuthentication() *Client {
	interactive := *c
	interactive.interactive = true
	return &interactive
}

// allow is what a call says about interactive authentication.
func (c *Client) allow(asked *bool) *bool {
	if asked == nil && c.interactive {
		return &c.interactive
	}
	return asked
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

// LaunchReply is Launch for those who leave a stand-in: it returns all of the
// service's answer.
func (c *Client) LaunchReply(ctx context.Context, p interfaces.LaunchParameters) (*interfaces.LaunchReply, error) {
	ctx, cancel := WithDeadline(ctx, p.TimeoutUSec)
	defer cancel()
	p.AllowInteractiveAuthentication = c.allow(p.AllowInteractiveAuthentication)
	return one[interfaces.LaunchReply](ctx, c, "Launch", complete(p))
}

// Explain says what Launch would do with the same parameters, or returns the
// error that it would be refused with. Nothing is started.
func (c *Client) Explain(ctx context.Context, p interfaces.LaunchParameters) (*interfaces.ExplainReply, error) {
	ctx, cancel := WithDeadline(ctx, nil)
	defer cancel()
	p.AllowInteractiveAuthentication = c.allow(p.AllowInteractiveAuthentication)
	return one[interfaces.ExplainReply](ctx, c, "Explain", complete(p))
}

// List returns the sidecars that every given selector matches, in the service's
// order. If none does, the slice is empty; but an ID that does not exist is
// interfaces.ErrNoSuchSidecar.
func (c *Client) List(ctx context.Context, p interfaces.ListParameters) ([]interfaces.Sidecar, error) {
	ctx, cancel := WithDeadline(ctx, nil)
	defer cancel()
	p.AllowInteractiveAuthentication = c.allow(p.AllowInteractiveAuthentication)
	sidecars := []interfaces.Sidecar{}
	err := each(ctx, c, "List", p, func(r interfaces.ListReply) { sidecars = append(sidecars, r.Sidecar) })
	// A varlink call has at least one reply: "none" can only be said as an error.
	if p.ID == nil && errors.Is(err, interfaces.ErrNoSuchSidecar) {
		return []interfaces.Sidecar{}, nil
	}
	if err != nil {
		return nil, err
	}
	return sidecars, nil
}

// Get returns the sidecar with this ID, or interfaces.ErrNoSuchSidecar.
func (c *Client) Get(ctx context.Context, id string) (*interfaces.Sidecar, error) {
	ctx, cancel := WithDeadline(ctx, nil)
	defer cancel()
	reply, err := one[interfaces.ListReply](ctx, c, "List", interfaces.ListParameters{
		ID: &id, AllowInteractiveAuthentication: c.allow(nil),
	})
	if err != nil {
		return nil, err
	}
	return &reply.Sidecar, nil
}

// Stop stops a sidecar and returns when it is gone, with how its process ended
// as far as that is known.
func (c *Client) Stop(ctx context.Context, p interfaces.StopParameters) (*interfaces.StopReply, error) {
	ctx, cancel := WithDeadline(ctx, p.TimeoutUSec)
	defer cancel()
	p.AllowInteractiveAuthentication = c.allow(p.AllowInteractiveAuthentication)
	return one[interfaces.StopReply](ctx, c, "Stop", p)
}

// Signal sends a signal, by its name such as SIGHUP, to a sidecar's process.
func (c *Client) Signal(ctx context.Context, p interfaces.SignalParameters) error {
	ctx, cancel := WithDeadline(ctx, nil)
	defer cancel()
	p.AllowInteractiveAuthentication = c.allow(p.AllowInteractiveAuthentication)
	_, err := one[interfaces.SignalReply](ctx, c, "Signal", p)
	return err
}

// ListProfiles returns the profiles that may be launched: those granted to the
// agent, or if it is nil every one that the caller may see.
func (c *Client) ListProfiles(ctx context.Context, agent *string) ([]interfaces.Profile, error) {
	ctx, cancel := WithDeadline(ctx, nil)
	defer cancel()
	profiles := []interfaces.Profile{}
	p := interfaces.ListProfilesParameters{Agent: agent, AllowInteractiveAuthentication: c.allow(nil)}
	err := each(ctx, c, "ListProfiles", p, func(r interfaces.ListProfilesReply) { profiles = append(profiles, r.Profile) })
	// The call names no profile, so this can only mean that there is none.
	if errors.Is(err, interfaces.ErrNoSuchProfile) {
		return []interfaces.Profile{}, nil
	}
	if err != nil {
		return nil, err
	}
	return profiles, nil
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
	ctx, cancel := WithDeadline(ctx, nil)
	defer cancel()
	var info Info
	err := c.call(ctx, request{Method: "org.varlink.service.GetInfo"}, into(func(i Info) { info = i }))
	if err != nil {
		return nil, err
	}
	return &info, nil
}

// complete gives a launch without arguments an empty list: null is not one.
func complete(p interfaces.LaunchParameters) interfaces.LaunchParameters {
	if p.Arguments == nil {
		p.Arguments = []string{}
	}
	return p
}

// WithDeadline gives a context without a deadline one that leaves the service
// the time-out that it was asked for: that of every call of this package and of
// package client/dbus.
func WithDeadline(ctx context.Context, timeoutUSec *int64) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	timeout := DefaultTimeout
	if timeoutUSec != nil && *timeoutUSec > 0 {
		// An absurd time-out is for the service to refuse; here it must not overflow.
		const longest = math.MaxInt64/int64(time.Microsecond) - int64(DefaultTimeout/time.Microsecond)
		timeout += time.Duration(min(*timeoutUSec, longest)) * time.Microsecond
	}
	return context.WithTimeout(ctx, timeout)
}
