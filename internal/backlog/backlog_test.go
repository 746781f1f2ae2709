package backlog

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// patience bounds every wait of the tests; none is meant to take that long.
const patience = time.Minute

// reader reads nothing until it is released, and then everything.
type reader struct {
	began   chan struct{} // has an element when the first value waits to be read
	release chan struct{}
	read    []string
}

func newReader() *reader {
	return &reader{began: make(chan struct{}, 1), release: make(chan struct{})}
}

func (r *reader) write(text string) {
	select {
	case r.began <- struct{}{}:
	default:
	}
	<-r.release
	r.read = append(r.read, text)
}

func (r *reader) backlog(items, bytes int) *Backlog[string] {
	return New(Config[string]{
		Items: items, Bytes: bytes,
		Size:  func(text string) int { return len(text) },
		Write: r.write,
		Lost:  func(n int) { r.write(fmt.Sprintf("%d lost", n)) },
	})
}

// TestHardeningJournalBacklogIsBounded shows that callers do not wait for a reader that does
// not read, that the last places are for important values, and that lost values are reported
// once, in their place.
func TestHardeningJournalBacklogIsBounded(t *testing.T) {
	t.Parallel()
	for name, b := range map[string]func(*reader) *Backlog[string]{
		"by number": func(r *reader) *Backlog[string] { return r.backlog(4, 1000) },
		"by size":   func(r *reader) *Backlog[string] { return r.backlog(1000, 8) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReader()
			b := b(r)
			b.Add("00", false)
			<-r.began // it is not in the queue any more
			for i := range 5 {
				b.Add(fmt.Sprintf("1%d", i), false)
			}
			for i := range 3 {
				b.Add(fmt.Sprintf("2%d", i), true)
			}
			if left := b.Flush(time.Millisecond); left != 9 {
				t.Errorf("%d are left, want 1 that is being written, 4 that wait, 2 that were dropped between them and 2 after them", left)
			}
			close(r.release)
			if left := b.Flush(patience); left != 0 {
				t.Errorf("%d are left", left)
			}
			if n := b.Dropped(); n != 4 {
				t.Errorf("%d were dropped, want 4", n)
			}
			b.Add("30", false)
			b.Flush(patience)
			want := []string{"00", "10", "11", "12", "2 lost", "20", "2 lost", "30"}
			if diff := cmp.Diff(want, r.read); diff != "" {
				t.Errorf("read (-want +got):\n%s", diff)
			}
		})
	}
}

// TestHardeningJournalLogDoesNotBlock shows that writes to a log do not block while its pipe
// is not read, and that the log has the number of lost lines afterwards.
func TestHardeningJournalLogDoesNotBlock(t *testing.T) {
	t.Parallel()
	from, to := io.Pipe()
	w := NewWriter(to)
	line := []byte(strings.Repeat("x", 99) + "\n")
	for range maxLines + 1000 {
		if n, err := w.Write(line); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
		line[0]++ // it is the writer's own
		line[0]--
	}
	text := make(chan string)
	go func() {
		all, _ := io.ReadAll(from)
		text <- string(all)
	}()
	w.Flush(patience)
	to.Close()
	all := <-text
	if n := strings.Count(all, strings.Repeat("x", 99)+"\n"); n < maxLines/2 || n > maxLines+1 {
		t.Errorf("%d lines", n)
	}
	if !strings.Contains(all, "lines of this log are lost") {
		t.Error("nothing says that lines are lost")
	}
}
