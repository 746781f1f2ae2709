package client

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxReply is the largest reply in bytes. systemd has the same limit
// (VARLINK_BUFFER_MAX in sd-varlink.c).
const maxReply = 16 << 20

// maxRequest is the largest call in bytes that the service takes; it hangs up on
// larger ones (service/varlink's Limits). It has the last word, so this only
// explains.
const maxRequest = 256 << 10

// parseReply reads a frame without a look at its parameters.
func parseReply(frame []byte) (reply, error) {
	var r reply
	if err := json.Unmarshal(frame, &r); err != nil {
		return reply{}, fmt.Errorf("%w: %v", ErrProtocol, err)
	}
	return r, nil
}

// readFrame reads up to the next NUL and returns what comes before it. It never
// holds more than limit bytes. io.ErrUnexpectedEOF: the stream ended before a
// whole frame was there.
func readFrame(in *bufio.Reader, limit int) ([]byte, error) {
	var frame []byte
	for {
		part, err := in.ReadSlice(0)
		if err == nil {
			part = part[:len(part)-1]
		}
		if len(frame)+len(part) > limit {
			return nil, fmt.Errorf("%w: a reply of more than %d bytes", ErrProtocol, limit)
		}
		frame = append(frame, part...)
		switch {
		case err == nil:
			return frame, nil
		case errors.Is(err, io.EOF):
			return nil, io.ErrUnexpectedEOF
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}
