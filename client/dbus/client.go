package dbus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	godbus "github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/dict"
)

// DefaultAddress is the address of the system bus.
const DefaultAddress = "unix:path=/run/dbus/system_bus_socket"

// maxCalls bounds the concurrent calls of one Client. Each has a connection, and the bus
// lets a user have 256 of them (max_connections_per_user of dbus-daemon(1)).
const maxCalls = 32

// flagName is the parameter that is a message flag on D-Bus.
const flagName = "allowInteractiveAuthentication"

// Client calls one service. It is safe for concurrent use, and needs no closing.
type Client struct {
	address     string
	slots       chan struct{} // one element for each call under way
	interactive bool          // whether calls may wait for a person by default
}

// New returns a client of the service on the bus at the address, unix:path=/PATH, or "" for
// DefaultAddress. It does not connect; only a malformed address is an error.
func New(address string) (*Client, error) {
	address = cmp.Or(address, DefaultAddress)
	path, ok := strings.CutPrefix(address, "unix:path=/")
	if !ok || strings.ContainsAny(path, ",;%") {
		return nil, fmt.Errorf("address %.200q: must be unix:path=/PATH, a bus on a unix socket", address)
	}
	return &Client{address: address, slots: make(chan struct{}, maxCalls)}, nil
}

// Address returns the bus's address in the form unix:path=/PATH.
func (c *Client) Address() string { return c.address }

// WithInteractiveAuthentication returns the same client, whose calls allow polkit to ask a
// person to authenticate, unless their parameters forbid it. It is for programs that a
// person uses.
func (c *Client) WithInteractiveAuthentication() *Client {
	interactive := *c
	interactive.interactive = true
	return &interactive
}

// Launch starts a side process and returns when it is ready: see client.Client.
func (c *Client) Launch(ctx context.Context, p interfaces.LaunchParameters) (*interfaces.Sidecar, error) {
	ctx, cancel := client.WithDeadline(ctx, p.TimeoutUSec)
	defer cancel()
	body, err := c.call(ctx, launch("Launch", p)) // object, properties, stand-in
	if err != nil {
		return nil, err
	}
	var sidecar interfaces.Sidecar
	if err := read(body, 1, &sidecar); err != nil {
		return nil, err
	}
	return &sidecar, nil
}

// Explain says what Launch would do with the same parameters: see client.Client.
func (c *Client) Explain(ctx context.Context, p interfaces.LaunchParameters) (*interfaces.ExplainReply, error) {
	ctx, cancel := client.WithDeadline(ctx, nil)
	defer cancel()
	return answer[interfaces.ExplainReply](ctx, c, launch("Explain", p))
}

// launch is a call of Launch or of Explain.
func launch(method string, p interfaces.LaunchParameters) call {
	arguments := make([]string, len(p.Arguments))
	for i, argument := range p.Arguments {
		arguments[i] = dict.Text(argument)
	}
	return call{
		method: method, parameters: p, interactive: p.AllowInteractiveAuthentication,
		body: []any{dict.Text(p.Profile), arguments, options(p)},
	}
}

// options are the options of a call.
func options(parameters any) map[string]godbus.Variant {
	return dict.EncodeOptions(parameters, flagName)
}

// List returns the sidecars that every given selector matches: see client.Client.
func (c *Client) List(ctx context.Context, p interfaces.ListParameters) ([]interfaces.Sidecar, error) {
	ctx, cancel := client.WithDeadline(ctx, nil)
	defer cancel()
	s, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	defer s.close()
	return s.list(ctx, p)
}

// list is List on a connection.
func (s *session) list(ctx context.Context, p interfaces.ListParameters) ([]interfaces.Sidecar, error) {
	body, err := s.call(ctx, call{
		method: "List", parameters: p, interactive: p.AllowInteractiveAuthentication, body: []any{options(p)},
	})
	if p.ID == nil && errors.Is(err, interfaces.ErrNoSuchSidecar) {
		return []interfaces.Sidecar{}, nil
	}
	if err != nil {
		return nil, err
	}
	rows, err := value[[][]any](body, 0) // object, properties
	sidecars := make([]interfaces.Sidecar, len(rows))
	for i, row := range rows {
		if err := read(row, 1, &sidecars[i]); err != nil {
			return nil, err
		}
	}
	return sidecars, err
}

// Get returns the sidecar with this ID, or interfaces.ErrNoSuchSidecar.
func (c *Client) Get(ctx context.Context, id string) (*interfaces.Sidecar, error) {
	sidecars, err := c.List(ctx, interfaces.ListParameters{ID: &id})
	if err == nil && len(sidecars) != 1 {
		err = fmt.Errorf("%w: %d sidecars with one ID", client.ErrProtocol, len(sidecars))
	}
	if err != nil {
		return nil, err
	}
	return &sidecars[0], nil
}

// Stop stops a sidecar and returns when it is gone: see client.Client.
func (c *Client) Stop(ctx context.Context, p interfaces.StopParameters) (*interfaces.StopReply, error) {
	ctx, cancel := client.WithDeadline(ctx, p.TimeoutUSec)
	defer cancel()
	return answer[interfaces.StopReply](ctx, c, call{
		method: "Stop", parameters: p, interactive: p.AllowInteractiveAuthentication, body: []any{dict.Text(p.ID), options(p)},
	})
}

// Signal sends a signal, by its name such as SIGHUP, to a sidecar's process.
func (c *Client) Signal(ctx context.Context, p interfaces.SignalParameters) error {
	ctx, cancel := client.WithDeadline(ctx, nil)
	defer cancel()
	_, err := c.call(ctx, call{
		method: "Signal", parameters: p, interactive: p.AllowInteractiveAuthentication,
		body: []any{dict.Text(p.ID), dict.Text(p.Signal)},
	})
	return err
}

// ListProfiles returns the profiles that are granted to the agent, or all if agent is nil.
func (c *Client) ListProfiles(ctx context.Context, agent *string) ([]interfaces.Profile, error) {
	ctx, cancel := client.WithDeadline(ctx, nil)
	defer cancel()
	p := interfaces.ListProfilesParameters{Agent: agent}
	body, err := c.call(ctx, call{method: "ListProfiles", parameters: p, body: []any{options(p)}})
	if errors.Is(err, interfaces.ErrNoSuchProfile) {
		return []interfaces.Profile{}, nil
	}
	if err != nil {
		return nil, err
	}
	return dictionaries[interfaces.Profile](body)
}

// ReadLog returns the newest log entries of sidecars: see client.Client. D-Bus has no Follow.
func (c *Client) ReadLog(ctx context.Context, p interfaces.ReadLogParameters) iter.Seq2[interfaces.LogEntry, error] {
	return func(yield func(interfaces.LogEntry, error) bool) {
		entries, err := c.readLog(ctx, p)
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
		if err != nil {
			yield(interfaces.LogEntry{}, err)
		}
	}
}

func (c *Client) readLog(ctx context.Context, p interfaces.ReadLogParameters) ([]interfaces.LogEntry, error) {
	if p.Follow != nil && *p.Follow {
		return nil, &interfaces.InvalidParameterError{Parameter: "follow", Reason: "D-Bus does not have it; call the service over varlink"}
	}
	p.Follow = nil
	ctx, cancel := client.WithDeadline(ctx, nil)
	defer cancel()
	body, err := c.call(ctx, call{method: "ReadLog", parameters: p, interactive: p.AllowInteractiveAuthentication, body: []any{options(p)}})
	if err != nil {
		return nil, err
	}
	return dictionaries[interfaces.LogEntry](body)
}

// dictionaries reads a body that is an array of dictionaries.
func dictionaries[T any](body []any) ([]T, error) {
	rows, err := value[[]map[string]godbus.Variant](body, 0)
	all := make([]T, len(rows))
	for i, row := range rows {
		if err := read([]any{row}, 0, &all[i]); err != nil {
			return nil, err
		}
	}
	return all, err
}

// Info asks for the service's description: see client.Client. D-Bus has only the version.
func (c *Client) Info(ctx context.Context) (*client.Info, error) {
	ctx, cancel := client.WithDeadline(ctx, nil)
	defer cancel()
	body, err := c.call(ctx, call{method: "GetAll", body: []any{interfaces.ManagerInterface}, iface: "org.freedesktop.DBus.Properties"})
	if err != nil {
		return nil, err
	}
	properties, err := value[map[string]godbus.Variant](body, 0)
	if err != nil {
		return nil, err
	}
	version, ok := properties["Version"].Value().(string)
	if !ok {
		return nil, errors.New("the service is too old: it has no version on the bus")
	}
	return &client.Info{Product: "sidecar", Version: version, Interfaces: []string{interfaces.ManagerInterface}}, nil
}
