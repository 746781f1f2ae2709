package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net"
	"testing"

	"tripleo.io/sidecar/interfaces"
)

// TestInteractiveAuthentication has every method say what the client says, unless
// the parameters of the call say otherwise.
func TestInteractiveAuthentication(t *testing.T) {
	t.Parallel()
	no := false
	calls := map[string]func(context.Context, *Client, *bool){
		"Launch": func(ctx context.Context, c *Client, asked *bool) {
			_, _ = c.Launch(ctx, interfaces.LaunchParameters{AllowInteractiveAuthentication: asked})
		},
		"Explain": func(ctx context.Context, c *Client, asked *bool) {
			_, _ = c.Explain(ctx, interfaces.LaunchParameters{AllowInteractiveAuthentication: asked})
		},
		"List": func(ctx context.Context, c *Client, asked *bool) {
			_, _ = c.List(ctx, interfaces.ListParameters{AllowInteractiveAuthentication: asked})
		},
		"Stop": func(ctx context.Context, c *Client, asked *bool) {
			_, _ = c.Stop(ctx, interfaces.StopParameters{AllowInteractiveAuthentication: asked})
		},
		"Signal": func(ctx context.Context, c *Client, asked *bool) {
			_ = c.Signal(ctx, interfaces.SignalParameters{AllowInteractiveAuthentication: asked})
		},
		"Monitor": func(ctx context.Context, c *Client, asked *bool) {
			for range c.Monitor(ctx, interfaces.MonitorParameters{AllowInteractiveAuthentication: asked}) {
				break
			}
		},
		"Get":          func(ctx context.Context, c *Client, _ *bool) { _, _ = c.Get(ctx, "x") },
		"ListProfiles": func(ctx context.Context, c *Client, _ *bool) { _, _ = c.ListProfiles(ctx, nil) },
		"CreateNamespace": func(ctx context.Context, c *Client, interactive *bool) {
			_ = c.CreateNamespace(ctx, interfaces.CreateNamespaceParameters{AllowInteractiveAuthentication: interactive})
		},
		"DeleteNamespace": func(ctx context.Context, c *Client, interactive *bool) {
			_ = c.DeleteNamespace(ctx, interfaces.DeleteNamespaceParameters{AllowInteractiveAuthentication: interactive})
		},
	}
	for name, call := range calls {
		for _, interactive := range []bool{false, true} {
			for _, asked := range []*bool{nil, &no} {
				want := interactive && asked == nil
				if name == "Get" || name == "ListProfiles" {
					want = interactive // they have no such parameter
				}
				if got := saysInteractive(t, interactive, func(c *Client) { call(t.Context(), c, asked) }); got != want {
					t.Errorf("%s: %v of a client with %v, asked %v", name, got, interactive, asked)
				}
			}
		}
	}
}

// saysInteractive reports whether the call says that a person may be asked.
func saysInteractive(t *testing.T, interactive bool, call func(*Client)) bool {
	t.Helper()
	frames := make(chan []byte, 1)
	c := serveRaw(t, func(conn net.Conn) {
		frame, _ := bufio.NewReader(conn).ReadBytes(0)
		frames <- bytes.TrimSuffix(frame, []byte{0})
		_, _ = conn.Write([]byte(`{"error": "a.b.C"}` + "\x00"))
	})
	if interactive {
		c = c.WithInteractiveAuthentication()
	}
	call(c)
	var r struct {
		Parameters struct{ AllowInteractiveAuthentication bool }
	}
	if err := json.Unmarshal(<-frames, &r); err != nil {
		t.Fatal(err)
	}
	return r.Parameters.AllowInteractiveAuthentication
}
