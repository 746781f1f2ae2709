package main

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"testing"

	"tripleo.io/sidecar/client/clienttest"
)

// writing calls a function with everything that is written.
type writing func(p []byte) (int, error)

func (w writing) Write(p []byte) (int, error) { return w(p) }

// monitored runs the command against a service that has nothing but a state, and
// returns what the tool does when write has got it.
func monitored(t *testing.T, ctx context.Context, write writing) (code int, stderr string) {
	t.Helper()
	script, err := clienttest.ParseScript(`
> {"method": "io.tripleo.Sidecar.Monitor", "parameters": {}, "more": true}
< {"continues": true, "parameters": {"event": {"kind": "synchronized"}}}
`)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "s")
	server, err := clienttest.Listen(path, script)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	var b bytes.Buffer
	code = run(ctx, []string{"monitor", "-o", "json", "--address", path}, write, &b)
	return code, b.String()
}

// TestMonitorEndsWhenInterrupted shows that lines come as the events do, and that
// to interrupt it is no failure.
func TestMonitorEndsWhenInterrupted(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	var got string
	code, stderr := monitored(t, ctx, func(p []byte) (int, error) {
		got += string(p)
		interrupt()
		return len(p), nil
	})
	if code != exitOK || stderr != "" || got != `{"kind":"synchronized"}`+"\n" {
		t.Errorf("code %d, %q, %q", code, got, stderr)
	}
}

func TestMonitorEndsWithItsReader(t *testing.T) {
	t.Parallel()
	code, stderr := monitored(t, t.Context(), func([]byte) (int, error) { return 0, errors.New("broken pipe") })
	if code != exitFailure || stderr != "error: broken pipe\n" {
		t.Errorf("code %d, %q", code, stderr)
	}
}
