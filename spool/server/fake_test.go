package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/spool"
)

// fakeService is a service in memory that counts what it starts. Its instance key
// is the first argument.
type fakeService struct {
	delay  time.Duration                    // of a start
	before func(method string, p any) error // asked before each call; nil: none fails

	mu      sync.Mutex
	running map[string]interfaces.Sidecar
	starts  map[string]int
	stops   map[string]int
	signals []string
	calls   int // under way
	most    int // of them at once
}

func newFake() *fakeService {
	return &fakeService{running: map[string]interfaces.Sidecar{}, starts: map[string]int{}, stops: map[string]int{}}
}

func (f *fakeService) enter(method string, p any) error {
	f.mu.Lock()
	f.calls++
	f.most = max(f.most, f.calls)
	f.mu.Unlock()
	if f.before != nil {
		return f.before(method, p)
	}
	return nil
}

func (f *fakeService) leave() {
	f.mu.Lock()
	f.calls--
	f.mu.Unlock()
}

// LaunchReply carries a start through even if its caller hangs up, as the real one
// does.
func (f *fakeService) LaunchReply(ctx context.Context, p interfaces.LaunchParameters) (*interfaces.LaunchReply, error) {
	defer f.leave()
	if err := f.enter("Launch", p); err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	var reply interfaces.LaunchReply
	go func() {
		s, err := f.start(p)
		reply.Sidecar = s
		done <- err
	}()
	select {
	case err := <-done:
		return &reply, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (f *fakeService) start(p interfaces.LaunchParameters) (interfaces.Sidecar, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := p.Arguments[0]
	id := interfaces.NewID("agent", p.Profile, key).String()
	asked := &interfaces.Context{Profile: p.Profile, Arguments: p.Arguments, Agent: "agent"}
	if old, there := f.running[id]; there && p.Mode != nil && *p.Mode == interfaces.ModeKeep {
		if reflect.DeepEqual(old.Context, asked) {
			return old, nil
		}
		return old, &interfaces.SidecarExistsError{ID: id}
	}
	began := time.Now().UnixMicro()
	time.Sleep(f.delay)
	f.starts[key]++
	pid := int64(len(f.starts))
	f.running[id] = interfaces.Sidecar{ID: id, Context: asked, Runtime: interfaces.Runtime{State: interfaces.StateReady, StartedUSec: &began, ProcessID: &pid}}
	return f.running[id], nil
}

func (f *fakeService) List(_ context.Context, p interfaces.ListParameters) ([]interfaces.Sidecar, error) {
	defer f.leave()
	if err := f.enter("List", p); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []interfaces.Sidecar
	for _, s := range f.running {
		all = append(all, s)
	}
	return all, nil
}

func (f *fakeService) Stop(_ context.Context, p interfaces.StopParameters) (*interfaces.StopReply, error) {
	defer f.leave()
	if err := f.enter("Stop", p); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, there := f.running[p.ID]; !there {
		return nil, &interfaces.NoSuchSidecarError{ID: &p.ID}
	}
	delete(f.running, p.ID)
	f.stops[p.ID]++
	return &interfaces.StopReply{ExitCode: new(int64(0))}, nil
}

func (f *fakeService) Signal(_ context.Context, p interfaces.SignalParameters) error {
	defer f.leave()
	if err := f.enter("Signal", p); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.signals = append(f.signals, p.ID+" "+p.Signal)
	return nil
}

// started counts the starts of an instance.
func (f *fakeService) started(key string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.starts[key]
}

// newSpool makes a spool.
func newSpool(t testing.TB) string {
	t.Helper()
	parent := t.TempDir()
	if err := Prepare(parent, "agent", uint32(os.Geteuid())); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(parent, "agent")
}

// quick is a server's configuration for tests.
func quick(dir string, service Service) Config {
	return Config{
		Directory: dir, Service: service, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Linger: 20 * time.Millisecond, Grace: time.Second,
	}
}

// serveOnce runs a server until it is empty.
func serveOnce(t testing.TB, dir string, service Service) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	if err := Run(ctx, quick(dir, service)); err != nil {
		t.Fatalf("Run: %v", err)
	}
	if ctx.Err() != nil {
		t.Fatal("the server does not end")
	}
}

// nameOf makes a request's name out of a number.
func nameOf(n int) string { return fmt.Sprintf("%032x", n) }

// launchText is a request that launches the instance of this key.
func launchText(key string, more ...string) string {
	text, _ := json.Marshal(map[string]any{
		"method":     spool.MethodLaunch,
		"parameters": map[string]any{"profile": "p", "arguments": append([]string{key}, more...)},
	})
	return string(text)
}

// put writes a file into a directory of the spool.
func put(t testing.TB, dir, sub, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, sub, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// resultOf returns the result of a request, nil if there is none.
func resultOf(t testing.TB, dir, name string) *spool.Reply {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, spool.Results, spool.File(name)))
	if err != nil {
		return nil
	}
	reply := &spool.Reply{}
	if err := json.Unmarshal(text, reply); err != nil {
		t.Fatalf("result %s: %v", text, err)
	}
	return reply
}

// entries lists a directory of the spool.
func entries(t testing.TB, dir, sub string) []string {
	t.Helper()
	list, err := os.ReadDir(filepath.Join(dir, sub))
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// checkEmpty holds the directories that requests pass through to be empty.
func checkEmpty(t testing.TB, dir string) {
	t.Helper()
	for _, sub := range []string{spool.New, spool.Claimed} {
		if names := entries(t, dir, sub); len(names) > 0 {
			t.Errorf("%s holds %.200q", sub, names)
		}
	}
	for _, name := range entries(t, dir, spool.Results) {
		if name[0] == '.' {
			t.Errorf("%s is left in results", name)
		}
	}
}

// reasons returns what is written beside the refused entries.
func reasons(t testing.TB, dir string) []string {
	t.Helper()
	found, _ := filepath.Glob(filepath.Join(dir, spool.Refused, "*"+reasonSuffix))
	texts := []string{}
	for _, path := range found {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	return texts
}
