package client

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
)

const readySidecar = `{"id": "a.p.0123456789ab", "runtime": {"state": "ready", "unit": "sidecar-a.p.0123456789ab.service", "image": "i", "imageOutdated": false, "restarts": 0}}`

var wantSidecar = interfaces.Sidecar{
	ID:      "a.p.0123456789ab",
	Runtime: interfaces.Runtime{State: interfaces.StateReady, Unit: "sidecar-a.p.0123456789ab.service", Image: "i"},
}

func TestCalls(t *testing.T) {
	t.Parallel()
	const id = "a.p.0123456789ab"
	tests := map[string]struct {
		request string // the frame that is to be sent
		replies []string
		call    func(context.Context, *Client) (any, error)
		want    any
	}{
		"launch": {
			request: `{"method":"io.tripleo.Sidecar.Launch","parameters":{"profile":"p","arguments":["-x",""],"agent":"a"}}`,
			replies: []string{`{"parameters": {"sidecar": ` + readySidecar + `}}`},
			call: func(ctx context.Context, c *Client) (any, error) {
				return c.Launch(ctx, interfaces.LaunchParameters{Profile: "p", Arguments: []string{"-x", ""}, Agent: new("a")})
			},
			want: &wantSidecar,
		},
		"launch without arguments": {
			request: `{"method":"io.tripleo.Sidecar.Launch","parameters":{"profile":"p","arguments":[]}}`,
			replies: []string{`{"parameters": {"sidecar": ` + readySidecar + `}}`},
			call: func(ctx context.Context, c *Client) (any, error) {
				return c.Launch(ctx, interfaces.LaunchParameters{Profile: "p"})
			},
			want: &wantSidecar,
		},
		"launch, with a stand-in": {
			request: `{"method":"io.tripleo.Sidecar.Launch","parameters":{"profile":"p","arguments":[],"mode":"adopt"}}`,
			replies: []string{`{"parameters": {"sidecar": ` + readySidecar + `, "standIn": {"adopted": true, "pidFiles": ["/var/lib/a/pid"]}}}`},
			call: func(ctx context.Context, c *Client) (any, error) {
				return c.LaunchReply(ctx, interfaces.LaunchParameters{Profile: "p", Mode: new(interfaces.ModeAdopt)})
			},
			want: &interfaces.LaunchReply{
				Sidecar: wantSidecar,
				StandIn: &interfaces.StandIn{Adopted: true, PIDFiles: []string{"/var/lib/a/pid"}},
			},
		},
		"launch, without a stand-in": {
			request: `{"method":"io.tripleo.Sidecar.Launch","parameters":{"profile":"p","arguments":[]}}`,
			replies: []string{`{"parameters": {"sidecar": ` + readySidecar + `, "standIn": null}}`},
			call: func(ctx context.Context, c *Client) (any, error) {
				return c.LaunchReply(ctx, interfaces.LaunchParameters{Profile: "p"})
			},
			want: &interfaces.LaunchReply{Sidecar: wantSidecar},
		},
		"explain": {
			request: `{"method":"io.tripleo.Sidecar.Explain","parameters":{"profile":"p","arguments":[]}}`,
			replies: []string{`{"parameters": {"id": "x", "unit": "u", "image": "i", "command": ["c"], "rules": [], "properties": [{"name": "n", "value": "v"}]}}`},
			call: func(ctx context.Context, c *Client) (any, error) {
				return c.Explain(ctx, interfaces.LaunchParameters{Profile: "p"})
			},
			want: &interfaces.ExplainReply{
				ID: "x", Unit: "u", Image: "i", Command: []string{"c"}, Rules: []string{},
				Properties: []interfaces.UnitProperty{{Name: "n", Value: "v"}},
			},
		},
		"list": {
			request: `{"method":"io.tripleo.Sidecar.List","parameters":{"agent":"a"},"more":true}`,
			replies: []string{`{"continues": true, "parameters": {"sidecar": {"id": "1"}}}`, `{"parameters": {"sidecar": {"id": "2"}}}`},
			call: func(ctx context.Context, c *Client) (any, error) {
				return c.List(ctx, interfaces.ListParameters{Agent: new("a")})
			},
			want: []interfaces.Sidecar{{ID: "1"}, {ID: "2"}},
		},
		"list of nothing": {
			request: `{"method":"io.tripleo.Sidecar.List","parameters":{},"more":true}`,
			replies: []string{`{"error": "io.tripleo.Sidecar.NoSuchSidecar", "parameters": {}}`},
			call: func(ctx context.Context, c *Client) (any, error) {
				return c.List(ctx, interfaces.ListParameters{})
			},
			want: []interfaces.Sidecar{},
		},
		"get": {
			request: `{"method":"io.tripleo.Sidecar.List","parameters":{"id":"a.p.0123456789ab"}}`,
			replies: []string{`{"parameters": {"sidecar": ` + readySidecar + `}}`},
			call:    func(ctx context.Context, c *Client) (any, error) { return c.Get(ctx, id) },
			want:    &wantSidecar,
		},
		"stop": {
			request: `{"method":"io.tripleo.Sidecar.Stop","parameters":{"id":"a.p.0123456789ab","timeoutUSec":5}}`,
			replies: []string{`{"parameters": {"exitCode": 7}}`},
			call: func(ctx context.Context, c *Client) (any, error) {
				return c.Stop(ctx, interfaces.StopParameters{ID: id, TimeoutUSec: new(int64(5))})
			},
			want: &interfaces.StopReply{ExitCode: new(int64(7))},
		},
		"signal, answered without parameters": {
			request: `{"method":"io.tripleo.Sidecar.Signal","parameters":{"id":"a.p.0123456789ab","signal":"SIGHUP"}}`,
			replies: []string{`{}`},
			call: func(ctx context.Context, c *Client) (any, error) {
				return nil, c.Signal(ctx, interfaces.SignalParameters{ID: id, Signal: "SIGHUP"})
			},
		},
		"create a namespace": {
			request: `{"method":"io.tripleo.Sidecar.CreateNamespace","parameters":{"networkNamespace":"sb-1","agent":"a"}}`,
			replies: []string{`{}`},
			call: func(ctx context.Context, c *Client) (any, error) {
				return nil, c.CreateNamespace(ctx, interfaces.CreateNamespaceParameters{NetworkNamespace: "sb-1", Agent: new("a")})
			},
		},
		"delete a namespace": {
			request: `{"method":"io.tripleo.Sidecar.DeleteNamespace","parameters":{"networkNamespace":"sb-1","force":true}}`,
			replies: []string{`{}`},
			call: func(ctx context.Context, c *Client) (any, error) {
				return nil, c.DeleteNamespace(ctx, interfaces.DeleteNamespaceParameters{NetworkNamespace: "sb-1", Force: new(true)})
			},
		},
		"profiles": {
			request: `{"method":"io.tripleo.Sidecar.ListProfiles","parameters":{"agent":"a"},"more":true}`,
			replies: []string{`{"parameters": {"profile": {"name": "p"}, "newField": 1}}`},
			call:    func(ctx context.Context, c *Client) (any, error) { return c.ListProfiles(ctx, new("a")) },
			want:    []interfaces.Profile{{Name: "p"}},
		},
		"no profiles": {
			request: `{"method":"io.tripleo.Sidecar.ListProfiles","parameters":{},"more":true}`,
			replies: []string{`{"error": "io.tripleo.Sidecar.NoSuchProfile", "parameters": {"profile": ""}}`},
			call:    func(ctx context.Context, c *Client) (any, error) { return c.ListProfiles(ctx, nil) },
			want:    []interfaces.Profile{},
		},
		"info": {
			request: `{"method":"org.varlink.service.GetInfo"}`,
			replies: []string{`{"parameters": {"vendor": "v", "product": "p", "version": "1", "url": "u", "interfaces": ["i"]}}`},
			call:    func(ctx context.Context, c *Client) (any, error) { return c.Info(ctx) },
			want:    &Info{Vendor: "v", Product: "p", Version: "1", URL: "u", Interfaces: []string{"i"}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sent := make(chan string, 1)
			c := serveRaw(t, func(conn net.Conn) {
				frame, _ := bufio.NewReader(conn).ReadString(0)
				sent <- strings.TrimSuffix(frame, "\x00")
				_, _ = conn.Write([]byte(strings.Join(test.replies, "\x00") + "\x00"))
			})
			got, err := test.call(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(test.request, <-sent); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestConcurrentCallsBeyondTheLimitWait(t *testing.T) {
	t.Parallel()
	var open, peak atomic.Int64
	full := make(chan struct{}) // closed when as many calls are open as may be
	closeFull := sync.OnceFunc(func() { close(full) })
	c := serveRaw(t, func(conn net.Conn) {
		if _, err := bufio.NewReader(conn).ReadString(0); err != nil {
			return
		}
		n := open.Add(1)
		for old := peak.Load(); n > old && !peak.CompareAndSwap(old, n); old = peak.Load() {
		}
		if n == maxCalls {
			closeFull()
		}
		<-full
		time.Sleep(5 * time.Millisecond) // one more could come
		open.Add(-1)
		_, _ = conn.Write([]byte("{}\x00"))
		_, _ = conn.Read(make([]byte, 1)) // until the caller hangs up
	})
	const callers = 10 * maxCalls
	results := make(chan error, callers)
	for range callers {
		go func() { results <- c.Signal(t.Context(), interfaces.SignalParameters{}) }()
	}
	for range callers {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if got := peak.Load(); got != maxCalls {
		t.Errorf("%d calls at once, want %d", got, maxCalls)
	}
}

func TestConcurrentCallsDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	const callers = 20
	arrived := make(chan struct{}, callers)
	release := make(chan struct{})
	c := serveRaw(t, func(conn net.Conn) {
		frame, err := bufio.NewReader(conn).ReadBytes(0)
		if err != nil {
			return
		}
		var r struct{ Parameters interfaces.ListParameters }
		_ = json.Unmarshal(frame[:len(frame)-1], &r)
		arrived <- struct{}{}
		<-release // no call is answered before all are there
		_, _ = conn.Write([]byte(`{"parameters": {"sidecar": {"id": "` + *r.Parameters.ID + `"}}}` + "\x00"))
	})
	results := make(chan error, callers)
	for i := range callers {
		go func() {
			id := string(rune('a' + i))
			got, err := c.Get(t.Context(), id)
			if err == nil && got.ID != id {
				t.Errorf("asked for %s, got %s", id, got.ID)
			}
			results <- err
		}()
	}
	for range callers {
		<-arrived
	}
	close(release)
	for range callers {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}
