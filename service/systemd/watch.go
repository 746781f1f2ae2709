package systemd

import "sync"

// maxResults bounds what a watch remembers.
const maxResults = 64

// watches tells who waits for jobs of a unit that one has ended. The zero value is
// ready.
type watches struct {
	mu     sync.Mutex
	byUnit map[string]watchSet
}

type watchSet map[*watch]struct{}

// watch collects the results of one unit's jobs from before they are known by
// number: systemd's signal can be here before the reply that says the number.
type watch struct {
	owner   *watches
	unit    string
	wake    chan struct{}     // has an element after something happened
	results map[uint32]string // by job; guarded by owner.mu
}

func (w *watches) add(unit string) *watch {
	w.mu.Lock()
	defer w.mu.Unlock()
	added := &watch{owner: w, unit: unit, wake: make(chan struct{}, 1), results: map[uint32]string{}}
	if w.byUnit == nil {
		w.byUnit = map[string]watchSet{}
	}
	if w.byUnit[unit] == nil {
		w.byUnit[unit] = watchSet{}
	}
	w.byUnit[unit][added] = struct{}{}
	return added
}

// ended notes the result of a job.
func (w *watches) ended(unit string, job uint32, result string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for watch := range w.byUnit[unit] {
		if len(watch.results) < maxResults {
			watch.results[job] = result
		}
		watch.poke()
	}
}

// pokeAll makes everybody look at their units: signals may have been lost.
func (w *watches) pokeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, set := range w.byUnit {
		for watch := range set {
			watch.poke()
		}
	}
}

func (w *watch) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// result returns "" while no signal told how the job ended.
func (w *watch) result(job uint32) string {
	w.owner.mu.Lock()
	defer w.owner.mu.Unlock()
	return w.results[job]
}

func (w *watch) close() {
	w.owner.mu.Lock()
	defer w.owner.mu.Unlock()
	delete(w.owner.byUnit[w.unit], w)
	if len(w.owner.byUnit[w.unit]) == 0 {
		delete(w.owner.byUnit, w.unit)
	}
}
