package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/spool"
)

func TestSpoolServerCarriesOutEveryMethod(t *testing.T) {
	t.Parallel()
	dir, fake := newSpool(t), newFake()
	id := interfaces.NewID("agent", "p", "/k").String()
	for i, text := range []string{
		launchText("/k"),
		`{"method":"io.tripleo.Sidecar.List"}`,
		`{"method":"io.tripleo.Sidecar.Signal","parameters":{"id":"` + id + `","signal":"SIGHUP"}}`,
		`{"method":"io.tripleo.Sidecar.Stop","parameters":{"id":"` + id + `"}}`,
		`{"method":"io.tripleo.Sidecar.List","parameters":null}`,
	} {
		put(t, dir, spool.New, spool.File(nameOf(i)), text)
		serveOnce(t, dir, fake)
	}
	for i, want := range []string{`"id":"` + id + `"`, `"sidecars":[{"id":"` + id, `{}`, `{"exitCode":0}`, `{"sidecars":[]}`} {
		r := resultOf(t, dir, nameOf(i))
		if r == nil || r.Error != "" || !strings.Contains(string(r.Parameters), want) {
			t.Errorf("request %d: %+v, want %s", i, r, want)
		}
	}
	if fake.started("/k") != 1 || fake.stops[id] != 1 || len(fake.signals) != 1 {
		t.Errorf("%d starts, %d stops, signals %v", fake.started("/k"), fake.stops[id], fake.signals)
	}
	checkEmpty(t, dir)
	info, err := os.Stat(filepath.Join(dir, spool.Results, spool.File(nameOf(0))))
	if err != nil || info.Mode() != 0o644 {
		t.Errorf("a result is %v, %v: the agent has to read it", info.Mode(), err)
	}
}

func TestSpoolServerTellsErrors(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		err  error
		want spool.Reply
	}{
		"refused":    {&interfaces.ArgumentNotAllowedError{Index: 1, Argument: "-x", Reason: "no"}, spool.Reply{Error: "io.tripleo.Sidecar.ArgumentNotAllowed", Parameters: []byte(`{"index":1,"argument":"-x","reason":"no"}`)}},
		"failed":     {&interfaces.LaunchFailedError{ExitCode: new(int64(7)), Output: []string{"x"}}, spool.Reply{Error: "io.tripleo.Sidecar.LaunchFailed", Parameters: []byte(`{"exitCode":7,"output":["x"]}`)}},
		"denied":     {interfaces.ErrPermissionDenied, spool.Reply{Error: "org.varlink.service.PermissionDenied", Parameters: []byte(`{}`)}},
		"unexpected": {errors.New("surprise"), spool.Reply{Error: "io.tripleo.Sidecar.HostFailure", Parameters: []byte(`{"reason":"surprise"}`)}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, fake := newSpool(t), newFake()
			fake.before = func(string, any) error { return c.err }
			put(t, dir, spool.New, spool.File(nameOf(1)), launchText("/k"))
			serveOnce(t, dir, fake)
			got := resultOf(t, dir, nameOf(1))
			if got == nil || got.Error != c.want.Error || string(got.Parameters) != string(c.want.Parameters) {
				t.Errorf("result %+v, want %+v", got, c.want)
			}
			checkEmpty(t, dir)
		})
	}
}

func TestSpoolServerExpiredRequests(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		in   string
		age  time.Duration
		want string
	}{
		"old":             {spool.New, 61 * time.Second, "Overloaded"},
		"from the future": {spool.New, -2 * time.Minute, "Overloaded"},
		"old and claimed": {spool.Claimed, 61 * time.Second, "HostFailure"},
		"young":           {spool.New, 50 * time.Second, ""},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dir, fake := newSpool(t), newFake()
			path := put(t, dir, c.in, spool.File(nameOf(1)), launchText("/k"))
			then := time.Now().Add(-c.age)
			if err := os.Chtimes(path, then, then); err != nil {
				t.Fatal(err)
			}
			serveOnce(t, dir, fake)
			r := resultOf(t, dir, nameOf(1))
			if r == nil || strings.TrimPrefix(r.Error, "io.tripleo.Sidecar.") != c.want || fake.started("/k") != map[bool]int{true: 1}[c.want == ""] {
				t.Errorf("%d starts, result %+v", fake.started("/k"), r)
			}
			checkEmpty(t, dir)
		})
	}
}

// TestSpoolServerAnswersAClient shows both sides together.
func TestSpoolServerAnswersAClient(t *testing.T) {
	t.Parallel()
	dir, fake := newSpool(t), newFake()
	stop := keepServing(t, dir, fake, nil)
	defer stop()
	c := &spool.Client{Directory: dir}
	s, err := c.Launch(t.Context(), interfaces.LaunchParameters{Profile: "p", Arguments: []string{"/k"}})
	if err != nil || s.ID != interfaces.NewID("agent", "p", "/k").String() {
		t.Fatalf("%+v, %v", s, err)
	}
	all, err := c.List(t.Context(), interfaces.ListParameters{})
	if err != nil || len(all) != 1 || *all[0].Runtime.ProcessID != 1 {
		t.Errorf("list %+v, %v", all, err)
	}
	if _, err := c.Stop(t.Context(), interfaces.StopParameters{ID: "a.b.0123456789ab"}); !errors.Is(err, interfaces.ErrNoSuchSidecar) {
		t.Errorf("stop: %v", err)
	}
}

func TestSpoolServerBoundsItsCalls(t *testing.T) {
	t.Parallel()
	dir, fake := newSpool(t), newFake()
	fake.before = func(string, any) error { time.Sleep(50 * time.Millisecond); return nil }
	for i := range 20 {
		put(t, dir, spool.New, spool.File(nameOf(i)), launchText(fmt.Sprint("/", i)))
	}
	config := quick(dir, fake)
	config.Calls = 5
	if err := Run(t.Context(), config); err != nil || fake.most != config.Calls {
		t.Errorf("%d calls at once, want %d; %v", fake.most, config.Calls, err)
	}
	checkEmpty(t, dir)
}

// TestSpoolServerSignalsBesideABurst shows that a signal does not wait for the launches
// of thirty threads.
func TestSpoolServerSignalsBesideABurst(t *testing.T) {
	t.Parallel()
	dir, fake := newSpool(t), newFake()
	release := make(chan struct{})
	fake.before = func(method string, _ any) error {
		if method == "Launch" {
			<-release
		}
		return nil
	}
	for i := range 30 {
		put(t, dir, spool.New, spool.File(nameOf(i)), launchText(fmt.Sprint("/", i)))
	}
	stop := keepServing(t, dir, fake, nil)
	defer stop()
	defer close(release)
	c := &spool.Client{Directory: dir}
	for len(entries(t, dir, spool.New)) > 14 { // it takes what it can
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := c.Signal(ctx, interfaces.SignalParameters{ID: "agent.p.0123456789ab", Signal: "SIGTERM"}); err != nil {
		t.Error(err)
	}
}

func TestSpoolServerEndsWithItsContext(t *testing.T) {
	t.Parallel()
	dir, fake := newSpool(t), newFake()
	begun, release := make(chan struct{}), make(chan struct{})
	fake.before = func(string, any) error { close(begun); <-release; return nil }
	put(t, dir, spool.New, spool.File(nameOf(1)), launchText("/k"))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- Run(ctx, quick(dir, fake)) }()
	<-begun
	cancel()
	put(t, dir, spool.New, spool.File(nameOf(2)), launchText("/l"))
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if r := resultOf(t, dir, nameOf(1)); r == nil || r.Error != "" {
		t.Errorf("the call that was under way: %+v", r)
	}
	if fake.started("/l") != 0 {
		t.Error("a request was taken after the end")
	}
}
