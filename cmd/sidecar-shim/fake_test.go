package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	testID     = "a.dnsmasq.0123456789ab"
	standInFor = `{"parameters": {"sidecar": %s, "standIn": {"adopted": %t, "pidFiles": [%s]}}}`
	gone       = `{"error": "io.tripleo.Sidecar.NoSuchSidecar", "parameters": {"id": "` + testID + `"}}`
	empty      = `{"parameters": {}}`
)

// sidecarIs is a sidecar in JSON.
func sidecarIs(id, state, invocation string) string {
	return fmt.Sprintf(`{"id": %q, "runtime": {"state": %q, "invocationId": %q}}`, id, state, invocation)
}

// fakeService answers calls on a socket by a function, and remembers them. Where
// clienttest has a script, this can change its mind.
type fakeService struct {
	path string

	mu     sync.Mutex
	answer func(call string) string // "" hangs up
	calls  []string
}

// serveFake starts one. A call is shown as its method and parameters:
// Signal {"id":"…","signal":"SIGHUP"}.
func serveFake(t *testing.T, answer func(call string) string) *fakeService {
	t.Helper()
	dir, err := os.MkdirTemp("", "s") // t.TempDir() can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	f := &fakeService{path: filepath.Join(dir, "s"), answer: answer}
	listener, err := net.Listen("unix", f.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go f.serve(conn)
		}
	}()
	return f
}

func (f *fakeService) serve(conn net.Conn) {
	defer conn.Close()
	frame, err := bufio.NewReader(conn).ReadString(0)
	if err != nil {
		return
	}
	var call struct {
		Method     string
		Parameters json.RawMessage
	}
	if json.Unmarshal([]byte(strings.TrimSuffix(frame, "\x00")), &call) != nil {
		return
	}
	text := strings.TrimPrefix(call.Method, "io.tripleo.Sidecar.") + " " + string(call.Parameters)
	f.mu.Lock()
	f.calls = append(f.calls, text)
	answer := f.answer
	f.mu.Unlock()
	if reply := answer(text); reply != "" {
		_, _ = io.WriteString(conn, reply+"\x00")
	}
}

func (f *fakeService) set(answer func(call string) string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

// asked counts the calls that begin so.
func (f *fakeService) asked(prefix string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, call := range f.calls {
		if strings.HasPrefix(call, prefix) {
			n++
		}
	}
	return n
}

// by returns a function that answers each call by the longest prefix it begins with.
func by(answers map[string]string) func(string) string {
	return func(call string) string {
		best := ""
		for prefix := range answers {
			if strings.HasPrefix(call, prefix) && len(prefix) >= len(best) {
				best = prefix
			}
		}
		return answers[best]
	}
}

// command is the shim under a name, talking to the fake. It must end in time, with
// its pipes.
func (f *fakeService) command(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Args[0] = name
	cmd.Env = append(os.Environ(), "SIDECAR_ADDRESS="+f.path, "SIDECAR_SPOOL=/nonexistent", "GORACE=atexit_sleep_ms=0")
	cmd.WaitDelay = 20 * time.Second
	return cmd
}

// run runs the shim and returns what it printed and its exit code.
func (f *fakeService) run(t *testing.T, name string, args ...string) (string, int) {
	t.Helper()
	cmd := f.command(t, name, args...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// eventually waits until ok says so.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}
