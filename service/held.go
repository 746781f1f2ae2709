package service

// held is what a launch has taken, each with the function that gives it back. The
// zero value holds nothing. One goroutine at a time may use it.
type held []func()

// add notes something that was taken.
func (h *held) add(giveBack func()) { *h = append(*h, giveBack) }

// giveBack gives back everything that is held, the last first, and each once. A
// second call has nothing to do.
func (h *held) giveBack() {
	for len(*h) > 0 {
		last := len(*h) - 1
		giveBack := (*h)[last]
		*h = (*h)[:last]
		giveBack()
	}
}

// handOver returns what is held to another owner, and holds nothing afterwards.
func (h *held) handOver() held {
	all := *h
	*h = nil
	return all
}
