package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service"
)

// Sources are asked at each collection. They must answer at once.
type Sources struct {
	Census       func() service.Census
	EntriesLost  func() uint64 // of the journal
	LogLinesLost func() uint64
}

// Watch adds what the sources tell. It must be called once, before the first collection.
func (m *Metrics) Watch(s Sources) {
	if m != nil {
		m.registry.MustRegister(collector{m, s})
	}
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	sidecars     = describe("sidecar_sidecars", "Sidecars by their state.", "agent", "profile", "state")
	outdated     = describe("sidecar_sidecars_outdated", "Sidecars that run another image than the policy has now.", "agent", "profile")
	unhealthy    = describe("sidecar_sidecars_unhealthy", "Sidecars whose probes have failed.", "agent", "profile")
	synchronized = describe("sidecar_units_synchronized", "Whether the service knows the present state of all units.")
	slots        = describe("sidecar_slots", "How much of this kind of work may run at once.", "work")
	slotsInUse   = describe("sidecar_slots_in_use", "How much of this kind of work runs.", "work")
	queueLength  = describe("sidecar_queue_length", "How many calls wait for a slot for this kind of work.", "work")
	overruns     = describe("sidecar_monitor_overruns_total", "How often a monitor fell behind and has lost its events.")
	entriesLost  = describe("sidecar_journal_entries_lost_total", "Entries about decisions that the journal did not take.")
	linesLost    = describe("sidecar_log_lines_lost_total", "Lines of the service's log that were not read in time.")
)

type collector struct {
	metrics *Metrics
	sources Sources
}

// Describe is for the registry.
func (c collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		sidecars, outdated, unhealthy, synchronized, slots, slotsInUse, queueLength, overruns, entriesLost, linesLost,
	} {
		to <- d
	}
}

// Collect is for the registry. It runs in a goroutine of the registry: a panic there would end
// the service.
func (c collector) Collect(to chan<- prometheus.Metric) {
	defer func() {
		if value := recover(); value != nil {
			to <- prometheus.NewInvalidMetric(synchronized, interfaces.Unexpected())
		}
	}()
	census := c.sources.Census()
	send := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, kind, value, labels...)
	}
	for pair, count := range c.metrics.pairs(census.Sidecars) {
		for _, state := range interfaces.SidecarStates {
			send(sidecars, prometheus.GaugeValue, count.states[state], pair.agent, pair.profile, string(state))
		}
		send(outdated, prometheus.GaugeValue, count.outdated, pair.agent, pair.profile)
		send(unhealthy, prometheus.GaugeValue, count.unhealthy, pair.agent, pair.profile)
	}
	for _, q := range census.Queues {
		send(slots, prometheus.GaugeValue, float64(q.Slots), q.Name)
		send(slotsInUse, prometheus.GaugeValue, float64(q.InUse), q.Name)
		send(queueLength, prometheus.GaugeValue, float64(q.Waiting), q.Name)
	}
	send(synchronized, prometheus.GaugeValue, one(census.Synchronized))
	send(overruns, prometheus.CounterValue, float64(census.Overruns))
	send(entriesLost, prometheus.CounterValue, float64(c.sources.EntriesLost()))
	send(linesLost, prometheus.CounterValue, float64(c.sources.LogLinesLost()))
}

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// pair is what sidecars are counted by.
type pair struct{ agent, profile string }

type count struct {
	states              map[interfaces.SidecarState]float64
	outdated, unhealthy float64
}

// pairs counts the sidecars of each agent and profile that has any.
func (m *Metrics) pairs(all map[interfaces.ID]service.Counted) map[pair]*count {
	m.mu.RLock()
	defer m.mu.RUnlock()
	counts := map[pair]*count{}
	for id, s := range all {
		var p pair
		p.agent, p.profile, _ = m.labels(id.Agent, id.Profile)
		if counts[p] == nil {
			counts[p] = &count{states: map[interfaces.SidecarState]float64{}}
		}
		counts[p].states[s.State]++
		counts[p].outdated += one(s.Outdated)
		counts[p].unhealthy += one(s.Unhealthy)
	}
	return counts
}
