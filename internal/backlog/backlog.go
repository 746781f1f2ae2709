// Package backlog queues writes to a reader that may stop reading, so that no caller blocks:
// journald's sockets block for ever while it is stopped or its disk is full. One goroutine
// writes, in the order of the calls. Values that do not fit are dropped; their number is
// written later, in their place.
package backlog

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"
)

// Config says how values are written and how many may wait.
type Config[T any] struct {
	Items int         // how many values may wait
	Bytes int         // their size together
	Size  func(T) int // in bytes
	Write func(T)     // may block
	Lost  func(n int) // reports n dropped values, in their place; may block
}

// Backlog is a queue of values to write. Use New.
type Backlog[T any] struct {
	config Config[T]
	wake   chan struct{}

	mu      sync.Mutex
	waiting []item[T]
	bytes   int
	lost    int             // values dropped since the last append to waiting
	dropped uint64          // all values dropped so far
	writing bool            // a value has left waiting and is not written yet
	flushes []chan struct{} // closed when everything is written
}

type item[T any] struct {
	value T
	lost  int // values dropped before this one
}

// New starts the goroutine that writes. It stays until the process ends.
func New[T any](config Config[T]) *Backlog[T] {
	b := &Backlog[T]{config: config, wake: make(chan struct{}, 1)}
	go b.run()
	return b
}

// Add queues a value to be written. It never blocks. The last quarter of the room is for
// important values.
func (b *Backlog[T]) Add(value T, important bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	items, bytes := b.config.Items, b.config.Bytes
	if !important {
		items, bytes = items-items/4, bytes-bytes/4
	}
	size := b.config.Size(value)
	if len(b.waiting) >= items || b.bytes+size > bytes {
		b.lost++
		b.dropped++
		return
	}
	b.waiting = append(b.waiting, item[T]{value, b.lost})
	b.bytes += size
	b.lost = 0
	b.start()
}

// Flush waits until everything is written, but not longer than limit, and returns how many
// values are not written then.
func (b *Backlog[T]) Flush(limit time.Duration) int {
	written := make(chan struct{})
	b.mu.Lock()
	b.flushes = append(b.flushes, written)
	b.start()
	b.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-written:
		return 0
	case <-timer.C:
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	left := len(b.waiting) + b.lost
	for _, waiting := range b.waiting {
		left += waiting.lost
	}
	if b.writing {
		left++
	}
	return left
}

// Dropped returns how many values did not fit so far.
func (b *Backlog[T]) Dropped() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.dropped
}

// start wakes the writer. b.mu is held.
func (b *Backlog[T]) start() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *Backlog[T]) run() {
	for range b.wake {
		for {
			next, lost, more := b.take()
			if lost > 0 {
				b.config.Lost(lost)
			}
			if !more && lost == 0 {
				break
			}
			if more {
				b.config.Write(next)
			}
		}
	}
}

// take returns the next value, if more is true, and how many were dropped before it.
func (b *Backlog[T]) take() (next T, lost int, more bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) > 0 {
		first := b.waiting[0]
		b.waiting[0] = item[T]{}
		b.waiting = b.waiting[1:]
		b.bytes -= b.config.Size(first.value)
		b.writing = true
		return first.value, first.lost, true
	}
	b.waiting = nil // frees a long array
	lost, b.lost = b.lost, 0
	if b.writing = lost > 0; !b.writing {
		for _, written := range b.flushes {
			close(written)
		}
		b.flushes = nil
	}
	return next, lost, false
}

// How many lines of a log, and bytes in them, may wait.
const (
	maxLines     = 4096
	maxLineBytes = 1 << 20
)

// Writer passes lines on, one for each call of Write, and never blocks. Use NewWriter.
type Writer struct{ lines *Backlog[[]byte] }

// NewWriter returns a Writer to a stream that may block, such as a standard error that
// systemd has connected to journald. Errors in writing are ignored.
func NewWriter(to io.Writer) *Writer {
	return &Writer{New(Config[[]byte]{
		Items: maxLines, Bytes: maxLineBytes,
		Size:  func(line []byte) int { return len(line) },
		Write: func(line []byte) { _, _ = to.Write(line) },
		Lost: func(n int) {
			_, _ = fmt.Fprintf(to, "level=WARN msg=\"lines of this log are lost: they were not read in time\" lines=%d\n", n)
		},
	})}
}

// Write implements io.Writer. It has no error.
func (w *Writer) Write(line []byte) (int, error) {
	w.lines.Add(bytes.Clone(line), false)
	return len(line), nil
}

// Dropped returns how many lines did not fit so far.
func (w *Writer) Dropped() uint64 { return w.lines.Dropped() }

// Flush waits until everything is written, but not longer than limit.
func (w *Writer) Flush(limit time.Duration) { w.lines.Flush(limit) }
