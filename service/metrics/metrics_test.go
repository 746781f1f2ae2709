package metrics

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service"
	"tripleo.io/sidecar/service/policy"
)

// set returns a policy of two profiles and of agents with the profiles that they are granted.
func set(t *testing.T, agents map[string]string) *policy.Set {
	t.Helper()
	directory := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(directory, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	for _, profile := range []string{"p", "q"} {
		write("profiles.d/"+profile+".toml", `description = "d"
image = "i"
command = ["/bin/p"]
instance = "-p"
arguments = ["-p {path:pid}"]
ready = { pid-file = "-p" }
`)
	}
	for agent, profiles := range agents {
		write("agents.d/"+agent+".toml", fmt.Sprintf("profiles = [%s]\nnetwork-namespaces = [\"n\"]\nstate-directories = [\"/var/lib/%s\"]\n", profiles, agent))
	}
	s, err := policy.Load(directory)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// discard is a journal that forgets.
type discard struct{ service.Journal }

func (discard) Record(service.Decision) {}

// shown returns the series of a metric, each as in the text format, without counters that are 0.
func shown(t *testing.T, m *Metrics, name string) []string {
	t.Helper()
	text, err := m.text()
	if err != nil {
		t.Fatal(err)
	}
	var series []string
	for line := range strings.Lines(string(text)) {
		if strings.HasSuffix(name, "_total") && strings.HasSuffix(line, "} 0\n") {
			continue
		}
		if strings.HasPrefix(line, name+"{") || strings.HasPrefix(line, name+" ") {
			series = append(series, strings.TrimSpace(line))
		}
	}
	return series
}

func want(t *testing.T, m *Metrics, name string, series ...string) {
	t.Helper()
	for i := range series {
		series[i] = name + series[i]
	}
	slices.Sort(series)
	if d := cmp.Diff(series, shown(t, m, name)); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

func launch(agent, profile string, err error) service.Decision {
	return service.Decision{Method: "Launch", Agent: agent, Profile: profile, Began: time.Now(), Err: err}
}

// TestMetricsLaunches: each launch is counted once, however it ends.
func TestMetricsLaunches(t *testing.T) {
	t.Parallel()
	m := New("v", set(t, map[string]string{"a": `"p"`}))
	j := m.Journal(discard{})
	allowed := launch("a", "p", nil)
	allowed.Engine = interfaces.EnginePodman
	ready := allowed
	ready.Outcome = true
	for _, d := range []service.Decision{allowed, ready} {
		j.Record(d)
	}
	kept, failed, stopped, restored := allowed, ready, ready, ready
	again, exists, stoppedFirst := launch("a", "p", interfaces.ErrNoSuchNetworkNamespace), launch("a", "p", interfaces.ErrSidecarExists), ready
	again.Method, exists.Method, stoppedFirst.Method = "Restore", "Restore", "Restore"
	stoppedFirst.Err = &interfaces.LaunchStoppedError{}
	kept.Kept = true
	failed.Err, stopped.Err = &interfaces.NotReadyError{}, &interfaces.LaunchStoppedError{}
	restored.Method = "Restore"
	left := launch("a", "p", context.Canceled)
	for _, d := range []service.Decision{
		kept, failed, stopped, restored, again, exists, stoppedFirst, left, launch("a", "p", &interfaces.ArgumentNotAllowedError{}), launch("a", "p", errors.New("a defect")),
		{Method: "Stop", Agent: "a", Profile: "p"},
		{Method: "Stop", Err: &interfaces.NoSuchSidecarError{}},
	} {
		j.Record(d)
	}
	want(t, m, "sidecar_launches_total",
		`{agent="a",engine="",outcome="abandoned",profile="p"} 1`,
		`{agent="a",engine="",outcome="failed",profile="p"} 1`,
		`{agent="a",engine="",outcome="refused",profile="p"} 2`,
		`{agent="a",engine="podman",outcome="failed",profile="p"} 1`,
		`{agent="a",engine="podman",outcome="kept",profile="p"} 1`,
		`{agent="a",engine="podman",outcome="ready",profile="p"} 2`,
		`{agent="a",engine="podman",outcome="stopped",profile="p"} 1`)
	want(t, m, "sidecar_launch_duration_seconds_count", `{engine="podman"} 1`)
	want(t, m, "sidecar_refusals_total",
		`{method="Launch",reason="ArgumentNotAllowed"} 1`, `{method="Restore",reason="NoSuchNetworkNamespace"} 1`, `{method="Stop",reason="NoSuchSidecar"} 1`)
	want(t, m, "sidecar_failures_total",
		`{method="Launch",reason="CallerLeft"} 1`, `{method="Launch",reason="Internal"} 1`,
		`{method="Launch",reason="LaunchStopped"} 1`, `{method="Launch",reason="NotReady"} 1`)
}

// TestMetricsNamesAreThePolicys: no caller can make a series of its own.
func TestMetricsNamesAreThePolicys(t *testing.T) {
	t.Parallel()
	m := New("v", set(t, map[string]string{"a": `"p"`, "b": `"p", "q"`}))
	j := m.Journal(discard{})
	sidecars := map[interfaces.ID]service.Counted{}
	m.Watch(Sources{
		Census:      func() service.Census { return service.Census{Sidecars: sidecars} },
		EntriesLost: func() uint64 { return 0 }, LogLinesLost: func() uint64 { return 0 },
	})
	for i := range 1000 {
		d := launch(fmt.Sprintf("a%d", i), "p", &interfaces.NoSuchAgentError{Agent: fmt.Sprint(i)})
		j.Record(d)
		j.Record(launch("a", fmt.Sprintf("p%d", i), &interfaces.NoSuchProfileError{Profile: fmt.Sprint(i)}))
		sidecars[interfaces.NewID(fmt.Sprintf("a%d", i), "p", "")] = service.Counted{State: interfaces.StateReady}
		sidecars[interfaces.NewID("a", "p", fmt.Sprint(i))] = service.Counted{State: interfaces.StateFailed, Outdated: true, Unhealthy: i == 0}
	}
	j.Record(launch("a", "q", interfaces.ErrNoSuchProfile)) // exists, and is not granted
	want(t, m, "sidecar_launches_total",
		`{agent="a",engine="",outcome="refused",profile="(other)"} 1001`,
		`{agent="(other)",engine="",outcome="refused",profile="(other)"} 1000`)
	want(t, m, "sidecar_sidecars_outdated", `{agent="a",profile="p"} 1000`, `{agent="(other)",profile="(other)"} 0`)
	want(t, m, "sidecar_sidecars_unhealthy", `{agent="a",profile="p"} 1`, `{agent="(other)",profile="(other)"} 0`)
	if n := len(shown(t, m, "sidecar_sidecars")); n != 2*len(interfaces.SidecarStates) {
		t.Errorf("%d series of sidecars", n)
	}
}

// TestMetricsReload: what is gone from the policy has no series any more.
func TestMetricsReload(t *testing.T) {
	t.Parallel()
	m := New("v", set(t, map[string]string{"a": `"p"`, "b": `"p", "q"`}))
	j := m.Journal(discard{})
	all := func() {
		for _, pair := range [][2]string{{"a", "p"}, {"b", "p"}, {"b", "q"}} {
			j.Record(launch(pair[0], pair[1], interfaces.ErrArgumentNotAllowed))
		}
	}
	all()
	m.Reloaded(nil)
	want(t, m, "sidecar_last_reload_successful", " 0")
	m.Reloaded(set(t, map[string]string{"b": `"p"`, "c": `"p"`}))
	want(t, m, "sidecar_last_reload_successful", " 1")
	want(t, m, "sidecar_launches_total", `{agent="b",engine="",outcome="refused",profile="p"} 1`)
	all()
	want(t, m, "sidecar_launches_total",
		`{agent="b",engine="",outcome="refused",profile="(other)"} 1`,
		`{agent="b",engine="",outcome="refused",profile="p"} 2`,
		`{agent="(other)",engine="",outcome="refused",profile="(other)"} 1`)
}

// TestMetricsRestarts: restarts by systemd are counted for the policy's pairs until they are gone.
func TestMetricsRestarts(t *testing.T) {
	t.Parallel()
	m := New("v", set(t, map[string]string{"a": `"p", "q"`, "b": `"p"`}))
	for _, pair := range [][2]string{{"a", "p"}, {"a", "q"}, {"b", "p"}, {"c", "p"}, {"d", "p"}} {
		m.Restarted()(interfaces.NewID(pair[0], pair[1], "-"), 2)
	}
	want(t, m, "sidecar_restarts_total",
		`{agent="(other)",profile="(other)"} 4`, `{agent="a",profile="p"} 2`, `{agent="a",profile="q"} 2`, `{agent="b",profile="p"} 2`)
	m.Reloaded(set(t, map[string]string{"a": `"p"`}))
	want(t, m, "sidecar_restarts_total", `{agent="(other)",profile="(other)"} 4`, `{agent="a",profile="p"} 2`)
}

// TestMetricsOtherIsAName: an agent may have a name that sounds like nobody's.
func TestMetricsOtherIsAName(t *testing.T) {
	t.Parallel()
	if interfaces.ValidName(Other) {
		t.Fatalf("%q is a name", Other)
	}
	m := New("v", set(t, map[string]string{"other": `"p"`}))
	for _, agent := range []string{"other", "nobody"} {
		m.Journal(discard{}).Record(launch(agent, "p", interfaces.ErrNoSuchProfile))
	}
	m.Reloaded(set(t, map[string]string{"a": `"p"`})) // must not drop nobody's
	want(t, m, "sidecar_launches_total", `{agent="(other)",engine="",outcome="refused",profile="(other)"} 1`)
}

// TestMetricsReasons: the values of reason are the table's names and two words.
func TestMetricsReasons(t *testing.T) {
	t.Parallel()
	for _, row := range interfaces.Errors {
		if got := Reason(fmt.Errorf("wrapped: %w", row.Err)); !strings.HasSuffix(row.Varlink, "."+got) {
			t.Errorf("%s is %s", row.Varlink, got)
		}
	}
	for err, want := range map[error]string{
		fmt.Errorf("w: %w", context.Canceled): "CallerLeft", context.DeadlineExceeded: "CallerLeft", errors.New("x"): "Internal",
	} {
		if got := Reason(err); got != want {
			t.Errorf("%v is %s, want %s", err, got, want)
		}
	}
}

// TestMetricsOff: without metrics nothing is counted, and nothing is in the way.
func TestMetricsOff(t *testing.T) {
	t.Parallel()
	var m *Metrics
	if j := m.Journal(discard{}); j != (discard{}) {
		t.Errorf("the journal is %T", j)
	}
	if m.Rejected("varlink") != nil || m.Restarted() != nil {
		t.Error("rejections or restarts are counted")
	}
	m.Reloaded(nil)
	m.Watch(Sources{})
}

// full returns metrics that have at least one series of each.
func full(t *testing.T) *Metrics {
	t.Helper()
	m := New("v", set(t, map[string]string{"a": `"p"`}))
	m.Watch(Sources{
		Census: func() service.Census {
			return service.Census{
				Sidecars: map[interfaces.ID]service.Counted{interfaces.NewID("a", "p", ""): {State: interfaces.StateReady}},
				Queues:   []service.Queue{{Name: "starts", Slots: 4}},
			}
		},
		EntriesLost: func() uint64 { return 1 }, LogLinesLost: func() uint64 { return 2 },
	})
	ready := launch("a", "p", nil)
	ready.Outcome = true
	for _, d := range []service.Decision{ready, launch("a", "p", interfaces.ErrOverloaded), launch("a", "p", interfaces.ErrHostFailure)} {
		m.Journal(discard{}).Record(d)
	}
	for _, reason := range service.Rejections {
		m.Rejected("dbus")(reason)
	}
	return m
}

func TestMetricsLint(t *testing.T) {
	t.Parallel()
	text, err := full(t).text()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.New(strings.NewReader(string(text))).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v in\n%s", problems, err, text)
	}
}

// TestMetricsCollectorPanics: a defect costs the answer, not the service.
func TestMetricsCollectorPanics(t *testing.T) {
	t.Parallel()
	m := New("v", set(t, nil))
	m.Watch(Sources{Census: func() service.Census { panic("a bug") }})
	text, err := m.text()
	if err == nil || !strings.Contains(err.Error(), interfaces.Unexpected().Error()) {
		t.Errorf("%v, %s", err, text)
	}
}

// TestMetricsFile: the file is replaced whole, and nothing that another user puts beside it is
// followed.
func TestMetricsFile(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	path, victim := filepath.Join(directory, "sidecar.prom"), filepath.Join(directory, "victim")
	if err := errors.Join(os.WriteFile(victim, []byte("x"), 0o600), os.Symlink(victim, path+".new"), os.Symlink(victim, path)); err != nil {
		t.Fatal(err)
	}
	m := full(t)
	for range 2 {
		if err := m.writeFile(path); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != fileMode {
		t.Errorf("the file: %v, %v", info, err)
	}
	info, err = os.Lstat(victim)
	if err != nil || info.Mode() != 0o600 || info.Size() != 1 {
		t.Errorf("the other file: %v, %v", info, err)
	}
	entries, _ := os.ReadDir(directory)
	if names := slices.Collect(func(yield func(string) bool) {
		for _, e := range entries {
			yield(e.Name())
		}
	}); !slices.Equal(names, []string{"sidecar.prom", "victim"}) {
		t.Errorf("left: %q", names)
	}
	if err := m.writeFile(filepath.Join(directory, "none", "sidecar.prom")); err == nil {
		t.Error("a directory that does not exist")
	}
}
