package service

import "tripleo.io/sidecar/interfaces"

// Census is what the service knows at one moment without asking systemd, for metrics.
type Census struct {
	Synchronized bool // Sidecars is the present state
	Sidecars     map[interfaces.ID]Counted
	Queues       []Queue
	Overruns     uint64 // how often a monitor that fell behind has lost its events
}

// Counted is a sidecar as metrics count it.
type Counted struct {
	State     interfaces.SidecarState
	Outdated  bool // it runs, or waits for a restart, and the policy has another image now
	Unhealthy bool
}

// Queue is a kind of work of which a bounded number runs at once.
type Queue struct {
	Name    string // a word of the service, never a caller's
	InUse   int
	Slots   int
	Waiting int // callers that wait for a slot
}

// Census counts. It waits for no call, and reads nothing of the host but podman's list of images,
// which is read again only when it has changed.
func (c *Core) Census() Census {
	known, synced := c.events.Known()
	census := Census{Synchronized: synced, Sidecars: make(map[interfaces.ID]Counted, len(known)), Overruns: c.events.Overruns()}
	images := c.Images() // no change of a unit tells that an image's name stands for another one now
	for id, s := range known {
		census.Sidecars[id] = Counted{
			State:     s.Runtime.State,
			Outdated:  s.Runtime.State != interfaces.StateFailed && c.outdated(id, s.Runtime, images),
			Unhealthy: s.Runtime.Health != nil && *s.Runtime.Health == interfaces.HealthUnhealthy,
		}
	}
	for _, q := range []struct {
		name  string
		quota interface {
			Load() (inUse, total, waiting int)
		}
	}{{"starts", c.starts}, {"stops", c.stops}, {"lists", c.lists}} {
		queue := Queue{Name: q.name}
		queue.InUse, queue.Slots, queue.Waiting = q.quota.Load()
		census.Queues = append(census.Queues, queue)
	}
	return census
}
