package metrics

import (
	"errors"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service"
)

// descriptions returns the labels of each metric that the service exports.
func descriptions(t *testing.T) map[string]string {
	t.Helper()
	all := make(chan *prometheus.Desc, 100)
	full(t).registry.Describe(all)
	close(all)
	form := regexp.MustCompile(`fqName: "([a-z_]+)".*constLabels: \{(.*?)\}, variableLabels: \{(.*?)\}`)
	labels := map[string]string{}
	for d := range all {
		found := form.FindStringSubmatch(d.String())
		if found == nil {
			t.Fatalf("a description of another form: %s", d)
		}
		constant, _, _ := strings.Cut(found[2], "=")
		labels[found[1]] = constant + strings.ReplaceAll(found[3], ",", ", ")
	}
	return labels
}

// named returns the metrics that a file names.
func named(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile("../../" + path)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, name := range regexp.MustCompile(`\bsidecar_[a-z_]+`).FindAllString(string(text), -1) {
		for _, suffix := range []string{"_bucket", "_count", "_sum"} {
			name = strings.TrimSuffix(name, suffix)
		}
		found[name] = true
	}
	return slices.Sorted(maps.Keys(found))
}

// TestMetricsAreDocumented: docs/metrics.md has each metric with its labels; neither it nor the
// alerts or the dashboard name another one.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	labels := descriptions(t)
	for _, path := range []string{"docs/metrics.md", "monitoring/alerts.yml", "monitoring/alerts_test.yml", "monitoring/dashboard.json"} {
		for _, name := range named(t, path) {
			if _, ok := labels[name]; !ok {
				t.Errorf("%s names %s, which does not exist", path, name)
			}
		}
	}
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, l := range labels {
		if row := strings.Join(strings.Fields("| `"+name+"` | "+l+" |"), " "); !strings.Contains(string(page), "\n"+row) {
			t.Errorf("docs/metrics.md has no row that begins with %s", row)
		}
	}
}

// matches reports whether a selector takes a label's value; it is as in {outcome="failed",reason=~"A|B"}.
func matches(t *testing.T, selector, label, value string) bool {
	t.Helper()
	for _, m := range regexp.MustCompile(`([a-z]+)(=~?)"([^"]*)"`).FindAllStringSubmatch(selector, -1) {
		if m[1] == label {
			return m[2] == "=" && value == m[3] || m[2] == "=~" && slices.Contains(strings.Split(m[3], "|"), value)
		}
	}
	return true
}

// watchedBy returns the selectors of a metric in the increases of alerts.yml.
func watchedBy(t *testing.T, name string) []string {
	t.Helper()
	text, err := os.ReadFile("../../monitoring/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	var selectors []string
	for _, found := range regexp.MustCompile(`increase\(`+name+`(\{[^}]*\})?\[`).FindAllStringSubmatch(string(text), -1) {
		selectors = append(selectors, found[1])
	}
	if len(selectors) == 0 {
		t.Fatalf("no alert watches the increase of %s", name)
	}
	return selectors
}

// TestMetricsAlertsSeeTheFirst: each series that an alert watches for an increase begins with 0,
// before and after a reload, or Prometheus would not see its first increase.
func TestMetricsAlertsSeeTheFirst(t *testing.T) {
	t.Parallel()
	m := New("v", set(t, map[string]string{"a": `"p"`}))
	for _, agents := range []map[string]string{{"a": `"p"`}, {"a": `"p", "q"`, "b": `"q"`}} {
		m.Reloaded(set(t, agents))
		before := all(t, m)
		for agent, profiles := range agents {
			for _, profile := range append(strings.Split(strings.ReplaceAll(profiles, `"`, ""), ", "), "none") {
				everything(m, agent, profile)
			}
		}
		everything(m, "nobody", "p")
		for _, name := range []string{"sidecar_launches_total", "sidecar_refusals_total", "sidecar_failures_total", "sidecar_restarts_total"} {
			for _, selector := range watchedBy(t, name) {
				for series := range all(t, m) {
					if _, begun := before[series]; !begun && strings.HasPrefix(series, name+"{") && selects(t, selector, series) {
						t.Errorf("an alert watches %s%s, and %s did not begin with 0", name, selector, series)
					}
				}
			}
		}
	}
}

// all returns the values of all series of counters.
func all(t *testing.T, m *Metrics) map[string]string {
	t.Helper()
	text, err := m.text()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if series, value, ok := strings.Cut(line, "} "); ok {
			values[series+"}"] = value
		}
	}
	return values
}

func selects(t *testing.T, selector, series string) bool {
	t.Helper()
	for _, label := range regexp.MustCompile(`([a-z]+)="([^"]*)"`).FindAllStringSubmatch(series, -1) {
		if !matches(t, selector, label[1], label[2]) {
			return false
		}
	}
	return true
}

// everything counts what can happen to an agent and a profile: each error that a method can end
// with, as far as alerts watch it, and a restart.
func everything(m *Metrics, agent, profile string) {
	m.Restarted()(interfaces.NewID(agent, profile, "-"), 1)
	j := m.Journal(discard{})
	early := []error{interfaces.ErrHostFailure, interfaces.ErrPermissionDenied, interfaces.ErrNoSuchAgent, errors.New("a defect")}
	policys := []error{interfaces.ErrArgumentNotAllowed, interfaces.ErrNamespaceNotAllowed, interfaces.ErrNoSuchProfile}
	of := map[string][]error{
		"Launch":          append(policys, interfaces.ErrTooManySidecars, interfaces.ErrOverloaded),
		"Restore":         append(policys, interfaces.ErrTooManySidecars, interfaces.ErrTooManyNamespaces, interfaces.ErrOverloaded),
		"Explain":         policys,
		"CreateNamespace": {interfaces.ErrNamespaceNotAllowed, interfaces.ErrTooManyNamespaces},
		"DeleteNamespace": {interfaces.ErrNamespaceNotAllowed},
		"ListProfiles":    {interfaces.ErrNoSuchProfile},
		"List":            nil, "Monitor": nil, "ReadLog": nil, "Stop": nil, "Signal": nil,
	}
	for method, errs := range of {
		for _, err := range append(errs, early...) {
			j.Record(service.Decision{Method: method, Agent: agent, Profile: profile, Err: err})
		}
	}
	if _, _, known := m.labels(agent, profile); known {
		for _, err := range []error{nil, interfaces.ErrNotReady, interfaces.ErrLaunchFailed, interfaces.ErrHostFailure, errors.New("a defect")} {
			for _, method := range []string{"Launch", "Restore"} {
				j.Record(service.Decision{Method: method, Agent: agent, Profile: profile, Engine: interfaces.EnginePodman, Outcome: true, Err: err})
			}
		}
	}
}
