//go:build testhost

package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"tripleo.io/sidecar/interfaces"
)

const (
	metricsSocket   = "/run/sidecar/metrics.sock"
	metricsTextfile = "/run/sidecar/sidecar.prom"
)

// withMetrics restarts the daemon with metrics, as docs/metrics.md says.
func withMetrics(t *testing.T, socket string, settings ...string) {
	t.Helper()
	options := fmt.Sprintf(`Environment="SIDECARD_OPTIONS=-metrics-socket %s -metrics-textfile %s -metrics-interval 1s"`, socket, metricsTextfile)
	t.Cleanup(func() { // after the daemon's restart without metrics
		_ = os.Remove(metricsTextfile)
		if _, err := os.Lstat(socket); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("without metrics the socket is still there: %v", err)
		}
	})
	withSettings(t, append(settings, options)...)
}

// scrape asks for the metrics, as a scraper does.
func scrape(socket, path string) (status int, text []byte, err error) {
	client := http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	response, err := client.Get("http://sidecar" + path)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	var body bytes.Buffer
	_, err = body.ReadFrom(response.Body)
	return response.StatusCode, body.Bytes(), err
}

// samples returns the value of each series, and fails the test if promtool would complain.
func samples(t *testing.T, text []byte) map[string]float64 {
	t.Helper()
	problems, err := promlint.New(bytes.NewReader(text)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v, %v", problems, err)
	}
	values := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		series, value, ok := strings.Cut(strings.TrimSpace(line), "} ")
		if ok {
			series += "}"
		} else {
			series, value, _ = strings.Cut(strings.TrimSpace(line), " ")
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		if values[series], err = strconv.ParseFloat(value, 64); err != nil {
			t.Errorf("line %q: %v", line, err)
		}
	}
	return values
}

func scraped(t *testing.T, socket string) map[string]float64 {
	t.Helper()
	status, text, err := scrape(socket, "/metrics")
	if err != nil || status != http.StatusOK {
		t.Fatalf("scrape: status %d, %v: %s", status, err, text)
	}
	return samples(t, text)
}

func wantSamples(t *testing.T, got map[string]float64, want map[string]float64) {
	t.Helper()
	for series, value := range want {
		if has, ok := got[series]; !ok || has != value {
			t.Errorf("%s is %v (%v), want %v", series, has, ok, value)
		}
	}
}

func launches(agent, engine, outcome, profile string) string {
	return fmt.Sprintf("sidecar_launches_total{agent=%q,engine=%q,outcome=%q,profile=%q}", agent, engine, outcome, profile)
}

func sidecarsOf(agent, profile, state string) string {
	return fmt.Sprintf("sidecar_sidecars{agent=%q,profile=%q,state=%q}", agent, profile, state)
}

const metered = "metered" // an agent that comes and goes

func TestMetrics(t *testing.T) {
	begin(t)
	for _, path := range []string{metricsSocket, metricsTextfile} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s exists without the option: %v", path, err)
		}
	}
	withMetrics(t, metricsSocket)
	withPolicy(t, "agents.d", metered, agentFiles[limited])
	namespace(t, "t-metrics")
	p := probe(t, "t-metrics", "--text=fine")
	start(t, metered, p)
	kept := p
	kept.Mode = new(interfaces.ModeKeep)
	if _, err := as(t, metered).Launch(minute(t), kept); err != nil {
		t.Fatal(err)
	}
	bad := p
	bad.Arguments = append(p.Arguments[:1:1], "--evil")
	refused(t, metered, bad, interfaces.ErrArgumentNotAllowed)
	bad = p
	bad.Profile = "no-such-profile"
	refused(t, metered, bad, interfaces.ErrNoSuchProfile)
	exits := probe(t, "t-metrics", "--exit=3")
	stopAtEnd(t, metered, idOf(metered, exits).String())
	refused(t, metered, exits, interfaces.ErrLaunchFailed)
	if _, err := output("varlinkctl", "call", socketOf(metered), interfaces.Name+".NoSuchMethod", "{}"); err == nil {
		t.Error("a method that does not exist")
	}
	if _, err := output("busctl", "call", interfaces.BusName, "/io/tripleo/Sidecar1", "io.tripleo.Sidecar1.Manager", "Launch",
		"sasa{sv}", "probe", "0", "1", "agent", "s", "no-such-agent"); err == nil {
		t.Error("a launch of no agent on the bus")
	}
	want := map[string]float64{
		launches(metered, "podman", "ready", "probe"):                         1,
		launches(metered, "podman", "kept", "probe"):                          1,
		launches(metered, "", "refused", "probe"):                             1,
		launches(metered, "", "refused", "(other)"):                           1,
		launches(metered, "podman", "failed", "probe"):                        1,
		launches("(other)", "", "refused", "(other)"):                         1,
		`sidecar_launch_duration_seconds_count{engine="podman"}`:              1,
		`sidecar_refusals_total{method="Launch",reason="ArgumentNotAllowed"}`: 1,
		`sidecar_refusals_total{method="Launch",reason="NoSuchProfile"}`:      1,
		`sidecar_refusals_total{method="Launch",reason="NoSuchAgent"}`:        1,
		`sidecar_failures_total{method="Launch",reason="LaunchFailed"}`:       1,
		`sidecar_slots{work="starts"}`:                                        4,
		`sidecar_slots_in_use{work="starts"}`:                                 0,
		`sidecar_queue_length{work="starts"}`:                                 0,
		"sidecar_last_reload_successful":                                      1,
		"sidecar_monitor_overruns_total":                                      0,
		"sidecar_journal_entries_lost_total":                                  0,
		"sidecar_log_lines_lost_total":                                        0,
	}
	if haveVarlinkctl() {
		want[`sidecar_rejected_total{reason="unknown",transport="varlink"}`] = 1
	}
	wantSamples(t, scraped(t, metricsSocket), want)
	states := map[string]float64{
		sidecarsOf(metered, "probe", "ready"): 1, sidecarsOf(metered, "probe", "failed"): 1,
		fmt.Sprintf("sidecar_sidecars_outdated{agent=%q,profile=%q}", metered, "probe"): 0,
		"sidecar_units_synchronized": 1,
	}
	eventually(t, 5*time.Second, "the sidecars are counted", func() bool {
		got := scraped(t, metricsSocket)
		return got[sidecarsOf(metered, "probe", "ready")] == 1 && got[sidecarsOf(metered, "probe", "failed")] == 1
	})
	wantSamples(t, scraped(t, metricsSocket), states)
	eventually(t, 5*time.Second, "the file has the same", func() bool {
		text, err := os.ReadFile(metricsTextfile)
		return err == nil && samples(t, text)[sidecarsOf(metered, "probe", "failed")] == 1
	})
	checkOwner(t, metricsTextfile, 0o644, 0)
	checkOwner(t, metricsSocket, fs.ModeSocket|0o660, 0)
	if status, _, err := scrape(metricsSocket, "/debug/pprof/"); err != nil || status != http.StatusNotFound {
		t.Errorf("another path: status %d, %v", status, err)
	}
}

// haveVarlinkctl reports whether the host has varlinkctl; Debian 12 does not.
func haveVarlinkctl() bool {
	_, err := output("varlinkctl", "--version")
	return err == nil
}

func checkOwner(t *testing.T, path string, mode fs.FileMode, group uint32) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if stat, _ := info.Sys().(*syscall.Stat_t); info.Mode() != mode || stat.Uid != 0 || stat.Gid != group {
		t.Errorf("%s: mode %v, user %d, group %d; want %v, 0, %d", path, info.Mode(), stat.Uid, stat.Gid, mode, group)
	}
}

// TestMetricsOfARemovedAgent: a reload drops its series, and its sidecars are counted as others'.
func TestMetricsOfARemovedAgent(t *testing.T) {
	begin(t)
	withMetrics(t, metricsSocket)
	withPolicy(t, "agents.d", metered, agentFiles[limited])
	namespace(t, "t-metrics")
	s := start(t, metered, probe(t, "t-metrics", "--text=fine"))
	t.Cleanup(func() { run(t, "systemctl", "stop", s.Runtime.Unit) })
	eventually(t, 5*time.Second, "the sidecar is counted", func() bool {
		return scraped(t, metricsSocket)[sidecarsOf(metered, "probe", "ready")] == 1
	})
	run(t, "rm", policyFile("agents.d", metered))
	reload(t)
	got := scraped(t, metricsSocket)
	for series := range got {
		if strings.Contains(series, metered) {
			t.Errorf("after the agent's removal there is %s", series)
		}
	}
	wantSamples(t, got, map[string]float64{sidecarsOf("(other)", "(other)", "ready"): 1})
	if err := writePolicy("agents.d", metered, "no policy file"); err != nil {
		t.Fatal(err)
	}
	if _, err := output("systemctl", "reload", "sidecard"); err == nil {
		t.Error("a policy file with an error is accepted")
	}
	wantSamples(t, scraped(t, metricsSocket), map[string]float64{"sidecar_last_reload_successful": 0})
	if err := writePolicy("agents.d", metered, agentFiles[limited]); err != nil { // for those who clean up
		t.Fatal(err)
	}
	reload(t)
}

// TestMetricsForAGroup: the operator chooses the group by the directory, and the proxy of
// docs/metrics.md is one of its members.
func TestMetricsForAGroup(t *testing.T) {
	begin(t)
	const directory, group = "/run/sidecar-metrics", 4242
	if err := os.Mkdir(directory, 0o750); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(directory) })
	if err := errors.Join(os.Chown(directory, 0, group), os.Chmod(directory, fs.ModeSetgid|0o750)); err != nil {
		t.Fatal(err)
	}
	withMetrics(t, directory+"/metrics.sock", "ReadWritePaths="+directory)
	checkOwner(t, directory+"/metrics.sock", fs.ModeSocket|0o660, group)
	scraped(t, directory+"/metrics.sock")
	const address = "127.0.0.1:9101"
	run(t, "systemd-sysusers", "--inline", fmt.Sprintf("g sidecar-metrics %d", group))
	run(t, "systemd-run", "--unit=t-metrics-proxy", "--socket-property=ListenStream="+address,
		"--socket-property=IPAddressDeny=any", "--socket-property=IPAddressAllow=127.0.0.0/8",
		"-p", "DynamicUser=yes", "-p", "SupplementaryGroups=sidecar-metrics", "-p", "PrivateNetwork=yes",
		"/usr/lib/systemd/systemd-socket-proxyd", directory+"/metrics.sock")
	t.Cleanup(func() { run(t, "systemctl", "stop", "t-metrics-proxy.socket", "t-metrics-proxy.service") })
	response, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if text, err := io.ReadAll(response.Body); err != nil || samples(t, text)["sidecar_units_synchronized"] != 1 {
		t.Errorf("through the proxy: %v, %s", err, text)
	}
}

// TestMetricsRestarts: restarts by systemd are counted, which no scrape may see as a state.
func TestMetricsRestarts(t *testing.T) {
	begin(t)
	withMetrics(t, metricsSocket)
	namespace(t, "t-metrics")
	counted := func() float64 {
		return scraped(t, metricsSocket)[fmt.Sprintf("sidecar_restarts_total{agent=%q,profile=%q}", tester, "mended")]
	}
	if n := counted(); n != 0 {
		t.Errorf("it begins with %v", n)
	}
	s := start(t, tester, shaped(t, "mended", "t-metrics"))
	for n := range int64(2) {
		crash(t, s)
		s = awaitRestart(t, s.ID, n+1)
		eventually(t, 5*time.Second, "the restart is counted", func() bool { return counted() == float64(n+1) })
	}
}

// TestMetricsHostileScraper: who may scrape and misuses that holds up neither launches nor, for
// longer than the time-outs, other scrapers.
func TestMetricsHostileScraper(t *testing.T) {
	begin(t)
	withMetrics(t, metricsSocket)
	namespace(t, "t-metrics")
	huge := "GET /metrics HTTP/1.1\r\nHost: x\r\nX-Huge: " + strings.Repeat("x", 1<<20)
	for i := range 24 { // three times as many as are served at once
		c, err := net.Dial("unix", metricsSocket)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		switch i % 4 {
		case 0: // says nothing
		case 1: // never ends its request
			_, _ = c.Write([]byte("GET /metrics HTTP/1.1\r\nHost: x\r\n"))
		case 2:
			go c.Write([]byte(huge))
		case 3: // takes no answer
			_, _ = c.Write([]byte("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"))
		}
	}
	start(t, limited, probe(t, "t-metrics", "--text=fine"))
	eventually(t, 20*time.Second, "others are served", func() bool {
		status, _, err := scrape(metricsSocket, "/metrics")
		return err == nil && status == http.StatusOK
	})
}
