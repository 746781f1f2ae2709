package events

import (
	"context"

	"tripleo.io/sidecar/interfaces"
)

// Subscription is a stream of events for one reader. A reader that falls behind loses the
// events that it has not taken, and gets an overrun and the state again.
type Subscription struct {
	source *Observer
	reader string
	wants  func(interfaces.ID) bool
	wake   chan struct{}

	// guarded by source.mu
	since int                // the look that the first state needs
	stale bool               // the state is read when the reader comes for it
	state []interfaces.Event // comes first: the rest of the state, or an overrun while stale
	queue []interfaces.Event
}

// Next waits for the next event. The first ones are the state: present for each sidecar,
// and then synchronized; they wait until all units have been read. What an event points to
// must not be changed. The error is ctx's.
func (s *Subscription) Next(ctx context.Context) (interfaces.Event, error) {
	for {
		if event, ok := s.take(); ok {
			return event, nil
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return interfaces.Event{}, ctx.Err()
		}
	}
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.source.mu.Lock()
	defer s.source.mu.Unlock()
	delete(s.source.subscribers, s)
}

// take returns the next event if one waits.
func (s *Subscription) take() (interfaces.Event, bool) {
	s.source.mu.Lock()
	defer s.source.mu.Unlock()
	if s.stale && len(s.state) == 0 && s.source.synced && s.source.done >= s.since {
		s.state, s.stale = s.snapshot(), false
	}
	if event, ok := shift(&s.state); ok {
		return event, true
	}
	return shift(&s.queue)
}

func shift(queue *[]interfaces.Event) (interfaces.Event, bool) {
	if len(*queue) == 0 {
		*queue = nil // gives the memory back
		return interfaces.Event{}, false
	}
	first := (*queue)[0]
	(*queue)[0] = interfaces.Event{}
	*queue = (*queue)[1:]
	return first, true
}

// snapshot is the state as it is now. source.mu must be held.
func (s *Subscription) snapshot() []interfaces.Event {
	var state []interfaces.Event
	for _, id := range sorted(s.source.known) {
		if s.wants(id) {
			state = append(state, interfaces.Event{
				Kind: interfaces.EventPresent, ID: new(id.String()), Sidecar: s.source.known[id].sidecar,
			})
		}
	}
	return append(state, interfaces.Event{Kind: interfaces.EventSynchronized})
}

// offer queues an event. If too many wait it drops them all; the state that is sent instead
// is the state when the reader comes for it. source.mu must be held.
func (s *Subscription) offer(event interfaces.Event) {
	if s.stale {
		return
	}
	if len(s.queue) >= MaxQueue {
		s.stale, s.state, s.queue = true, []interfaces.Event{{Kind: interfaces.EventOverrun}}, nil
		s.source.overruns++
	} else {
		s.queue = append(s.queue, event)
	}
	s.poke()
}

func (s *Subscription) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
