package varlink

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"
)

// errFrameTooLong ends a connection whose message has no NUL where it must have
// one at the latest.
var errFrameTooLong = errors.New("message too long")

// frameSource is what a connection is to its frame reader.
type frameSource interface {
	io.Reader
	SetReadDeadline(time.Time) error
}

const (
	bufferStart = 2 << 10  // what an idle connection holds
	bufferKeep  = 16 << 10 // a larger buffer is not kept for the next message
)

// frameReader cuts a stream into messages. It never holds more than the longest
// message and its NUL.
type frameReader struct {
	source frameSource
	limits Limits

	buffer     []byte
	start, end int // buffer[start:end] is read and not yet given away
	scanned    int // buffer[start:scanned] holds no NUL
}

func newFrameReader(source frameSource, limits Limits) *frameReader {
	return &frameReader{source: source, limits: limits}
}

// next returns the next message without its NUL. It is valid until the call
// after it. At the end of the stream the error is io.EOF, amid a message
// io.ErrUnexpectedEOF.
func (r *frameReader) next() ([]byte, error) {
	r.shrink()
	deadline := time.Now().Add(r.limits.IdleTimeout)
	if r.begun() {
		deadline = time.Now().Add(r.limits.ReadTimeout)
	}
	for {
		if frame, ok, err := r.cut(); ok || err != nil {
			return frame, err
		}
		begun := r.begun()
		if err := r.fill(deadline); err != nil {
			return nil, err
		}
		if !begun {
			deadline = time.Now().Add(r.limits.ReadTimeout)
		}
	}
}

func (r *frameReader) begun() bool { return r.end > r.start }

// shrink starts over when everything is given away.
func (r *frameReader) shrink() {
	if r.begun() {
		return
	}
	r.start, r.end, r.scanned = 0, 0, 0
	if len(r.buffer) > bufferKeep {
		r.buffer = nil
	}
}

// cut gives away the message at the front of the buffer, if it is complete.
func (r *frameReader) cut() ([]byte, bool, error) {
	stop, complete := r.end, false
	if n := bytes.IndexByte(r.buffer[r.scanned:r.end], 0); n >= 0 {
		stop, complete = r.scanned+n, true
	}
	if stop-r.start > r.limits.MessageBytes {
		return nil, false, fmt.Errorf("%w: more than %d bytes", errFrameTooLong, r.limits.MessageBytes)
	}
	r.scanned = stop
	if !complete {
		return nil, false, nil
	}
	frame := r.buffer[r.start:stop:stop]
	r.start, r.scanned = stop+1, stop+1
	return frame, true, nil
}

// fill reads once into the buffer.
func (r *frameReader) fill(deadline time.Time) error {
	r.grow()
	if err := r.source.SetReadDeadline(deadline); err != nil {
		return err
	}
	n, err := r.source.Read(r.buffer[r.end:])
	r.end += n
	if n > 0 {
		return nil // an error comes again with the next read
	}
	if errors.Is(err, io.EOF) && r.begun() {
		return io.ErrUnexpectedEOF
	}
	return err
}

// grow makes room for at least one byte: in front of the buffer if there is
// some, else by more memory, up to the longest message and its NUL.
func (r *frameReader) grow() {
	if r.end < len(r.buffer) {
		return
	}
	room := r.buffer
	if r.start == 0 {
		room = make([]byte, min(max(2*len(r.buffer), bufferStart), r.limits.MessageBytes+1))
	}
	r.end = copy(room, r.buffer[r.start:r.end])
	r.scanned -= r.start
	r.start, r.buffer = 0, room
}
