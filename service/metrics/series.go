package metrics

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/policy"
)

// Other is the label of an agent that has no file, and of a profile that the agent is not granted.
// No file can have this name.
const Other = "(other)"

// methods are those that are recorded.
var methods = []string{
	methodLaunch, methodRestore, "Stop", "Signal", "List", "ListProfiles", "Explain", "Monitor", "ReadLog",
	"CreateNamespace", "DeleteNamespace",
}

// watchedRefusals and watchedFailures are the reasons that alerts watch, with the methods that can
// end so. Their series begin with 0: Prometheus sees no increase in a series that begins with 1.
var (
	watchedRefusals = map[string][]string{
		Reason(interfaces.ErrArgumentNotAllowed):  {methodLaunch, methodRestore, "Explain"},
		Reason(interfaces.ErrNamespaceNotAllowed): {methodLaunch, methodRestore, "Explain", "CreateNamespace", "DeleteNamespace"},
		Reason(interfaces.ErrNoSuchProfile):       {methodLaunch, methodRestore, "Explain", "ListProfiles"},
		Reason(interfaces.ErrPermissionDenied):    methods,
		Reason(interfaces.ErrTooManySidecars):     {methodLaunch, methodRestore},
		Reason(interfaces.ErrTooManyNamespaces):   {methodRestore, "CreateNamespace"},
		Reason(interfaces.ErrOverloaded):          {methodLaunch, methodRestore},
	}
	watchedFailures = map[string][]string{Reason(interfaces.ErrHostFailure): methods, reasonInternal: methods}
)

func begin(counter *prometheus.CounterVec, watched map[string][]string) {
	for reason, methods := range watched {
		for _, method := range methods {
			counter.WithLabelValues(method, reason)
		}
	}
}

// beginPairs makes the series of all agents and profiles that alerts watch, with 0 if they are
// new. m.mu is held, or m not yet shared.
func (m *Metrics) beginPairs() {
	m.beginPair(Other, Other)
	for _, agent := range m.set.Agents() {
		m.beginPair(agent.Name, Other)
		for _, profile := range m.set.Granted(agent.Name) {
			m.beginPair(agent.Name, profile.Name)
			m.launches.WithLabelValues(agent.Name, profile.Name, profile.Engine, outcomeReady)
			m.launches.WithLabelValues(agent.Name, profile.Name, profile.Engine, outcomeFailed)
		}
	}
}

func (m *Metrics) beginPair(agent, profile string) {
	m.launches.WithLabelValues(agent, profile, "", outcomeFailed)
	m.restarts.WithLabelValues(agent, profile)
}

// labels returns the names of an agent and a profile, as far as the policy has them, and whether
// it has both. m.mu is held.
func (m *Metrics) labels(agent, profile string) (a, p string, known bool) {
	found, ok := m.set.Agent(agent)
	switch {
	case !ok:
		return Other, Other, false
	case !slices.Contains(found.Profiles, profile):
		return agent, Other, false
	}
	return agent, profile, true
}

// Reloaded takes the policy of a reload, nil if the reload has failed. The series of agents and
// profiles that are gone are dropped.
func (m *Metrics) Reloaded(set *policy.Set) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reloaded.Set(0)
	if set == nil {
		return
	}
	m.reloaded.Set(1)
	old := m.set
	m.set = set
	for _, agent := range old.Agents() {
		if _, ok := set.Agent(agent.Name); !ok {
			m.drop(prometheus.Labels{"agent": agent.Name})
			continue
		}
		for _, profile := range agent.Profiles {
			if _, _, known := m.labels(agent.Name, profile); !known {
				m.drop(prometheus.Labels{"agent": agent.Name, "profile": profile})
			}
		}
	}
	m.beginPairs()
}

func (m *Metrics) drop(labels prometheus.Labels) {
	m.launches.DeletePartialMatch(labels)
	m.restarts.DeletePartialMatch(labels)
}
