// Package metrics counts what the service does, and shows it to Prometheus: on a unix socket
// and in a file for node_exporter. docs/metrics.md explains every metric.
//
// No caller chooses the value of a label. Agents and profiles are labels by the names in the
// policy files in force only; all other labels are from lists in the code.
package metrics

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service"
	"tripleo.io/sidecar/service/policy"
)

// Outcomes of launches.
const (
	outcomeReady     = "ready"     // the sidecar was started
	outcomeKept      = "kept"      // the sidecar ran already, and the launch left it as it is
	outcomeRefused   = "refused"   // nothing was started, as the policy or a limit says
	outcomeFailed    = "failed"    // the payload or the host failed
	outcomeStopped   = "stopped"   // somebody stopped it meanwhile
	outcomeAbandoned = "abandoned" // the caller left before its turn came
)

// Reasons beside the names in the table of errors.
const (
	reasonCallerLeft = "CallerLeft"
	reasonInternal   = "Internal" // an error outside of the table
)

const (
	methodLaunch  = "Launch"
	methodRestore = "Restore" // a launch by the service, after a boot
)

// buckets of the time from call to ready, in seconds. A launch has 30 s in the shipped profiles,
// and may wait for its turn before.
var buckets = []float64{.05, .1, .2, .3, .5, .75, 1, 1.5, 2.5, 5, 10, 20, 30, 60, 90}

// Metrics are the service's counters. Use New. A nil *Metrics counts nothing.
type Metrics struct {
	registry *prometheus.Registry

	mu  sync.RWMutex // held for writing while series of removed names are dropped
	set *policy.Set

	launches  *prometheus.CounterVec
	restarts  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	refusals  *prometheus.CounterVec
	failures  *prometheus.CounterVec
	rejected  *prometheus.CounterVec
	reloaded  prometheus.Gauge
}

// New returns the metrics of a service that has just started with this policy.
func New(version string, set *policy.Set) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	gauge := func(name, help string, labels prometheus.Labels) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels})
	}
	m := &Metrics{
		registry:  prometheus.NewRegistry(),
		set:       set,
		launches:  counter("sidecar_launches_total", "Launches that are over, each once.", "agent", "profile", "engine", "outcome"),
		restarts:  counter("sidecar_restarts_total", "Restarts of sidecars by systemd.", "agent", "profile"),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "sidecar_launch_duration_seconds", Help: "Time from the call to the ready sidecar, of launches that started one.", Buckets: buckets}, []string{"engine"}),
		refusals:  counter("sidecar_refusals_total", "Calls that were refused.", "method", "reason"),
		failures:  counter("sidecar_failures_total", "Calls that failed for another reason than a refusal.", "method", "reason"),
		rejected:  counter("sidecar_rejected_total", "Calls and connections that were answered before anything was decided.", "transport", "reason"),
		reloaded:  gauge("sidecar_last_reload_successful", "Whether the policy files were accepted when they were read last.", nil),
	}
	info := gauge("sidecar_build_info", "The version of the service.", prometheus.Labels{"version": version})
	started := gauge("sidecar_start_time_seconds", "When the service was started, in seconds since 1970.", nil)
	info.Set(1)
	started.Set(float64(time.Now().UnixMilli()) / 1000)
	m.reloaded.Set(1)
	begin(m.refusals, watchedRefusals)
	begin(m.failures, watchedFailures)
	m.beginPairs()
	m.registry.MustRegister(m.launches, m.restarts, m.durations, m.refusals, m.failures, m.rejected, m.reloaded, info, started)
	return m
}

// Journal returns a journal that counts the decisions on their way to the next one. Every call
// that reaches the core is recorded there, whatever its transport.
func (m *Metrics) Journal(next service.Journal) service.Journal {
	if m == nil {
		return next
	}
	return journal{next, m}
}

type journal struct {
	service.Journal
	metrics *Metrics
}

// Record counts a decision, and passes it on.
func (j journal) Record(d service.Decision) {
	j.metrics.count(d)
	j.Journal.Record(d)
}

// count counts a decision. A launch is over with its outcome, or with a decision that is not an
// allowed start. A sidecar that its agent launched or stopped before it was restored needed no
// restoring: that is not an attempt.
func (m *Metrics) count(d service.Decision) {
	if d.Method == methodRestore && (errors.Is(d.Err, interfaces.ErrSidecarExists) || errors.Is(d.Err, interfaces.ErrLaunchStopped)) {
		return
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	outcome := outcomeOf(d)
	switch reason := Reason(d.Err); outcome {
	case outcomeReady, outcomeKept:
	case outcomeRefused:
		m.refusals.WithLabelValues(d.Method, reason).Inc()
	default:
		m.failures.WithLabelValues(d.Method, reason).Inc()
	}
	if d.Method != methodLaunch && d.Method != methodRestore || d.Err == nil && !d.Outcome && !d.Kept {
		return
	}
	agent, profile, _ := m.labels(d.Agent, d.Profile)
	m.launches.WithLabelValues(agent, profile, d.Engine, outcome).Inc()
	if outcome == outcomeReady && d.Method == methodLaunch {
		m.durations.WithLabelValues(d.Engine).Observe(time.Since(d.Began).Seconds())
	}
}

func outcomeOf(d service.Decision) string {
	switch {
	case d.Kept && d.Err == nil:
		return outcomeKept
	case d.Err == nil:
		return outcomeReady
	case errors.Is(d.Err, interfaces.ErrLaunchStopped):
		return outcomeStopped
	case d.Outcome:
		return outcomeFailed
	case Reason(d.Err) == reasonCallerLeft:
		return outcomeAbandoned
	case d.Verdict() == "refused":
		return outcomeRefused
	}
	return outcomeFailed
}

// Reason returns the name of an error in the table, or a word for those outside of it.
func Reason(err error) string {
	if row, _, ok := interfaces.ToWire(err); ok {
		return row.Name()
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return reasonCallerLeft
	}
	return reasonInternal
}

// Restarted returns a function that counts restarts by systemd.
func (m *Metrics) Restarted() func(id interfaces.ID, times int64) {
	if m == nil {
		return nil
	}
	return func(id interfaces.ID, times int64) {
		m.mu.RLock()
		defer m.mu.RUnlock()
		agent, profile, _ := m.labels(id.Agent, id.Profile)
		m.restarts.WithLabelValues(agent, profile).Add(float64(times))
	}
}

// Rejected returns a function that counts what a transport answers without the core.
func (m *Metrics) Rejected(transport string) func(service.Rejection) {
	if m == nil {
		return nil
	}
	return func(reason service.Rejection) { m.rejected.WithLabelValues(transport, string(reason)).Inc() }
}
