package spool_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/spool"
)

// newSpool makes the directories of a spool.
func newSpool(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for _, sub := range []string{spool.Requests, spool.Temporary, spool.New, spool.Claimed, spool.Results, spool.Refused} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// host is the other side: it takes one request and answers it.
type host struct {
	dir    string
	answer string
	took   chan string // the request
}

func newHost(t testing.TB, dir, answer string) *host {
	h := &host{dir: dir, answer: answer, took: make(chan string, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); h.serve(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return h
}

func (h *host) serve(ctx context.Context) {
	for ctx.Err() == nil {
		time.Sleep(time.Millisecond)
		found, _ := filepath.Glob(filepath.Join(h.dir, spool.New, "*"))
		if len(found) == 0 {
			continue
		}
		text, _ := os.ReadFile(found[0])
		_ = os.Remove(found[0])
		result := filepath.Join(h.dir, spool.Results, filepath.Base(found[0]))
		_ = os.WriteFile(result+".tmp", []byte(h.answer), 0o644)
		_ = os.Rename(result+".tmp", result)
		h.took <- string(text)
		return
	}
}

// left lists what is in the requests' directories.
func left(t testing.TB, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, spool.Requests, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func checkNothingLeft(t testing.TB, dir string) {
	t.Helper()
	if found := left(t, dir); len(found) > 0 {
		t.Errorf("left behind: %v", found)
	}
}

func TestSpoolClientCallsAndAnswers(t *testing.T) {
	t.Parallel()
	sidecar := `{"id":"a.b.0123456789ab","runtime":{"state":"ready","unit":"u","image":"i","imageOutdated":false,"restarts":0}}`
	want := interfaces.Sidecar{ID: "a.b.0123456789ab", Runtime: interfaces.Runtime{State: interfaces.StateReady, Unit: "u", Image: "i"}}
	id, code := "a.b.0123456789ab", int64(7)
	cases := map[string]struct {
		answer string
		call   func(context.Context, *spool.Client) (any, error)
		asked  string
		want   any
	}{
		"launch": {
			`{"parameters":{"sidecar":` + sidecar + `,"standIn":{"adopted":true,"pidFiles":["/p"]}}}`,
			func(ctx context.Context, c *spool.Client) (any, error) {
				return c.LaunchReply(ctx, interfaces.LaunchParameters{Profile: "b", Arguments: []string{"", "x"}})
			},
			`{"method":"io.tripleo.Sidecar.Launch","parameters":{"profile":"b","arguments":["","x"]}}`,
			&interfaces.LaunchReply{Sidecar: want, StandIn: &interfaces.StandIn{Adopted: true, PIDFiles: []string{"/p"}}},
		},
		"launch without arguments": {
			`{"parameters":{"sidecar":` + sidecar + `}}`,
			func(ctx context.Context, c *spool.Client) (any, error) {
				return c.Launch(ctx, interfaces.LaunchParameters{Profile: "b"})
			},
			`{"method":"io.tripleo.Sidecar.Launch","parameters":{"profile":"b","arguments":[]}}`,
			&want,
		},
		"list": {
			`{"parameters":{"sidecars":[` + sidecar + `]}}`,
			func(ctx context.Context, c *spool.Client) (any, error) {
				return c.List(ctx, interfaces.ListParameters{ID: &id})
			},
			`{"method":"io.tripleo.Sidecar.List","parameters":{"id":"a.b.0123456789ab"}}`,
			[]interfaces.Sidecar{want},
		},
		"stop": {
			`{"parameters":{"exitCode":7}}`,
			func(ctx context.Context, c *spool.Client) (any, error) {
				return c.Stop(ctx, interfaces.StopParameters{ID: id})
			},
			`{"method":"io.tripleo.Sidecar.Stop","parameters":{"id":"a.b.0123456789ab"}}`,
			&interfaces.StopReply{ExitCode: &code},
		},
		"signal": {
			`{"parameters":{}}`,
			func(ctx context.Context, c *spool.Client) (any, error) {
				return nil, c.Signal(ctx, interfaces.SignalParameters{ID: id, Signal: "SIGHUP"})
			},
			`{"method":"io.tripleo.Sidecar.Signal","parameters":{"id":"a.b.0123456789ab","signal":"SIGHUP"}}`,
			nil,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := newSpool(t)
			h := newHost(t, dir, c.answer)
			got, err := c.call(t.Context(), &spool.Client{Directory: dir})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			if asked := <-h.took; asked != c.asked {
				t.Errorf("asked %s\nwant  %s", asked, c.asked)
			}
			checkNothingLeft(t, dir)
		})
	}
}

func TestSpoolClientErrors(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		answer string
		want   error
		says   string
	}{
		"refused":     {`{"error":"io.tripleo.Sidecar.ArgumentNotAllowed","parameters":{"index":2,"argument":"-x","reason":"no rule"}}`, interfaces.ErrArgumentNotAllowed, `argument 2 ("-x") not allowed: no rule`},
		"failed":      {`{"error":"io.tripleo.Sidecar.LaunchFailed","parameters":{"exitCode":3,"output":["a","b"]}}`, interfaces.ErrLaunchFailed, "exit code 3\na\nb"},
		"unknown":     {`{"error":"io.tripleo.Sidecar.FromTheFuture","parameters":{"a":1}}`, nil, `"io.tripleo.Sidecar.FromTheFuture" {"a":1}`},
		"no JSON":     {`{"parameters":`, spool.ErrProtocol, "not an answer"},
		"empty":       {``, spool.ErrProtocol, "not an answer"},
		"wrong types": {`{"parameters":{"sidecar":[]}}`, spool.ErrProtocol, "parameters"},
		"giant":       {strings.Repeat(" ", spool.MaxResult+1), spool.ErrProtocol, "more than 16777216 bytes"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := newSpool(t)
			newHost(t, dir, c.answer)
			_, err := (&spool.Client{Directory: dir}).Launch(t.Context(), interfaces.LaunchParameters{Profile: "b"})
			if err == nil || !strings.Contains(err.Error(), c.says) || (c.want != nil && !errors.Is(err, c.want)) {
				t.Errorf("error %v, want %v that says %q", err, c.want, c.says)
			}
		})
	}
}

func TestSpoolClientWithdraws(t *testing.T) {
	t.Parallel()
	dir := newSpool(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := (&spool.Client{Directory: dir}).List(ctx, interfaces.ListParameters{})
	if !errors.Is(err, spool.ErrWithdrawn) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody took it: %v", err)
	}
	checkNothingLeft(t, dir)
}

func TestSpoolClientCannotWithdrawWhatWasClaimed(t *testing.T) {
	t.Parallel()
	dir := newSpool(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for found := left(t, dir); ; found = left(t, dir) {
			if len(found) == 1 && strings.HasPrefix(found[0], filepath.Join(dir, spool.New)) {
				_ = os.Rename(found[0], filepath.Join(dir, spool.Claimed, filepath.Base(found[0])))
				cancel()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	_, err := (&spool.Client{Directory: dir}).List(ctx, interfaces.ListParameters{})
	if !errors.Is(err, spool.ErrUnanswered) || !errors.Is(err, context.Canceled) {
		t.Errorf("claimed and not answered: %v", err)
	}
}

func TestSpoolClientUnreachable(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		spoil func(t *testing.T, dir string)
		want  error
		says  string
	}{
		"not mounted": {func(t *testing.T, dir string) { remove(t, dir) }, syscall.ENOENT, "mounted there"},
		"no requests": {func(t *testing.T, dir string) { remove(t, filepath.Join(dir, spool.Requests)) }, syscall.ENOENT, "mounted there"},
		"no new":      {func(t *testing.T, dir string) { remove(t, filepath.Join(dir, spool.New)) }, syscall.ENOENT, "mounted there"},
		"a file for a directory": {func(t *testing.T, dir string) {
			remove(t, filepath.Join(dir, spool.New))
			if err := os.WriteFile(filepath.Join(dir, spool.New), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, syscall.ENOTDIR, "mounted there"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := newSpool(t)
			c.spoil(t, dir)
			err := (&spool.Client{Directory: dir}).Signal(t.Context(), interfaces.SignalParameters{ID: "x", Signal: "SIGHUP"})
			var unreachable *spool.UnreachableError
			if !errors.As(err, &unreachable) || !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want %v that says %q", err, c.want, c.says)
			}
			if found, _ := filepath.Glob(filepath.Join(dir, spool.Temporary, "*")); len(found) > 0 {
				t.Errorf("left behind: %v", found)
			}
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

func TestSpoolClientRefusesALargeRequest(t *testing.T) {
	t.Parallel()
	dir := newSpool(t)
	_, err := (&spool.Client{Directory: dir}).Launch(t.Context(), interfaces.LaunchParameters{Profile: strings.Repeat("x", spool.MaxRequest)})
	if err == nil || !strings.Contains(err.Error(), "more than a spool takes") {
		t.Errorf("error %v", err)
	}
	checkNothingLeft(t, dir)
}

// TestSpoolClientTellsHints shows that what the kernel says about a spool comes
// with what to do about it.
func TestSpoolClientTellsHints(t *testing.T) {
	t.Parallel()
	for err, says := range map[syscall.Errno]string{
		syscall.ENOSPC: "is full", syscall.EDQUOT: "quota", syscall.EROFS: "writable", syscall.EACCES: "spool-user", syscall.EXDEV: "one mount",
	} {
		if text := (&spool.UnreachableError{Directory: "/s", Err: err}).Error(); !strings.Contains(text, says) || !strings.Contains(text, err.Error()) {
			t.Errorf("%v: %s", err, text)
		}
	}
}
