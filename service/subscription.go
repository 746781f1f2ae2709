package service

import (
	"context"

	"tripleo.io/sidecar/interfaces"
)

// Subscription is a stream of events for one reader. It holds nothing up: a reader
// that falls behind loses what it has not taken, is told so, and gets the state
// anew.
type Subscription struct {
	source *events
	wants  func(interfaces.ID) bool
	wake   chan struct{}

	// guarded by source.mu
	since   int  // the look that the first state needs
	stale   bool // the state is to come first, what happens meanwhile is part of it
	overrun bool // that events were dropped has not been told yet
	state   []interfaces.Event
	queue   []interfaces.Event
}

// Next waits for the next event. The first ones are the state, present for each
// sidecar and then synchronized; they wait until the state of the units is known.
// What an event points to must not be changed. The error is ctx's.
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

// take returns the next event if there is one.
func (s *Subscription) take() (interfaces.Event, bool) {
	s.source.mu.Lock()
	defer s.source.mu.Unlock()
	if s.overrun {
		s.overrun = false
		return interfaces.Event{Kind: interfaces.EventOverrun}, true
	}
	if s.stale && s.source.synced && s.source.done >= s.since {
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
	wanted := map[interfaces.ID]*interfaces.Sidecar{}
	for id, known := range s.source.known {
		if s.wants(id) {
			wanted[id] = known.sidecar
		}
	}
	var state []interfaces.Event
	for _, id := range sorted(wanted) {
		name := id.String()
		state = append(state, interfaces.Event{Kind: interfaces.EventPresent, ID: &name, Sidecar: wanted[id]})
	}
	return append(state, interfaces.Event{Kind: interfaces.EventSynchronized})
}

// offer queues an event, or drops all that wait if they are too many: the state
// that is sent instead is as it will be when the reader comes for it. source.mu
// must be held.
func (s *Subscription) offer(event interfaces.Event) {
	if s.stale {
		return
	}
	if len(s.queue) >= maxQueue {
		s.state, s.queue = nil, nil
		s.stale, s.overrun = true, true
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
