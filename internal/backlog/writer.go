package backlog

import (
	"bytes"
	"fmt"
	"io"
	"time"
)

// How many lines of a log, and bytes in them, may wait to be written.
const (
	maxLines     = 4096
	maxLineBytes = 1 << 20
)

// Writer passes lines on, one for each call of Write, and never blocks. Use
// NewWriter.
type Writer struct{ lines *Backlog[[]byte] }

// NewWriter returns a Writer to a stream that may block, such as a standard error that
// systemd has connected to journald. Errors in writing are ignored, as there is nobody
// left to tell.
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

// Flush waits until everything is written, but not longer than limit.
func (w *Writer) Flush(limit time.Duration) { w.lines.Flush(limit) }
