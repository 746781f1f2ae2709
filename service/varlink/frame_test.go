package varlink

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// stream is a frameSource without deadlines.
type stream struct{ io.Reader }

func (stream) SetReadDeadline(time.Time) error { return nil }

// frames reads everything; each frame is copied, as its memory is used again.
func frames(r io.Reader, limit int) ([]string, error) {
	limits, _ := Limits{MessageBytes: limit}.withDefaults()
	reader := newFrameReader(stream{r}, limits)
	got := []string{}
	for {
		frame, err := reader.next()
		if err != nil {
			return got, err
		}
		got = append(got, string(frame))
	}
}

func TestVarlinkFrame(t *testing.T) {
	t.Parallel()
	const limit = 5000 // more than one growth of the buffer
	long := strings.Repeat("x", limit)
	for name, test := range map[string]struct {
		stream string
		want   []string
		err    error
	}{
		"nothing":           {"", []string{}, io.EOF},
		"one":               {"a\x00", []string{"a"}, io.EOF},
		"some, some empty":  {"\x00ab\x00\x00c\x00", []string{"", "ab", "", "c"}, io.EOF},
		"partial":           {"a\x00b", []string{"a"}, io.ErrUnexpectedEOF},
		"longest":           {long + "\x00" + long + "\x00", []string{long, long}, io.EOF},
		"too long":          {"a\x00" + long + "x\x00", []string{"a"}, errFrameTooLong},
		"too long, no end":  {long + "xx", []string{}, errFrameTooLong},
		"longest after one": {"a\x00" + long + "\x00b\x00", []string{"a", long, "b"}, io.EOF},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for kind, reader := range map[string]func(io.Reader) io.Reader{
				"whole": func(r io.Reader) io.Reader { return r }, "by byte": iotest.OneByteReader,
				"by half": iotest.HalfReader, "error with data": iotest.DataErrReader,
			} {
				got, err := frames(reader(strings.NewReader(test.stream)), limit)
				if diff := cmp.Diff(test.want, got); diff != "" || !errors.Is(err, test.err) {
					t.Errorf("%s: error %v, want %v; frames (-want +got):\n%s", kind, err, test.err, diff)
				}
			}
		})
	}
}

// TestVarlinkFrameMemory shows that a stream without an end takes no more than
// the longest message, and that an idle connection gives the memory back.
func TestVarlinkFrameMemory(t *testing.T) {
	t.Parallel()
	limits, err := Limits{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	r := newFrameReader(stream{io.MultiReader(
		strings.NewReader(strings.Repeat("x", limits.MessageBytes)+"\x00a\x00"), endless{},
	)}, limits)
	for range 2 {
		if _, err := r.next(); err != nil {
			t.Fatal(err)
		}
	}
	r.shrink()
	if len(r.buffer) > bufferKeep {
		t.Errorf("%d bytes are kept", len(r.buffer))
	}
	if _, err := r.next(); !errors.Is(err, errFrameTooLong) || len(r.buffer) > limits.MessageBytes+1 {
		t.Errorf("error %v with %d bytes", err, len(r.buffer))
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// FuzzVarlinkFrame compares the reader, fed in chunks of any size, with the
// plain meaning: split at every NUL. Bytes are stretched, so that small inputs
// reach the limit; large ones would take the fuzzer minutes to minimise.
func FuzzVarlinkFrame(f *testing.F) {
	f.Add([]byte("a\x00bc\x00d"), uint16(1), uint8(1))
	f.Add([]byte("aaaaaaaaaa\x00"), uint16(700), uint8(210))
	f.Fuzz(func(t *testing.T, seed []byte, chunk uint16, stretch uint8) {
		const limit = 2200
		data := []byte{}
		for _, b := range seed {
			data = append(data, bytes.Repeat([]byte{b}, 1+int(stretch)*int(min(b, 1)))...)
		}
		got, err := frames(&chunks{data, int(chunk%5000) + 1}, limit)
		want, wantErr := []string{}, io.EOF
		for rest := data; len(rest) > 0; {
			frame, after, complete := bytes.Cut(rest, []byte{0})
			if rest = after; len(frame) > limit {
				wantErr = errFrameTooLong
				break
			}
			if !complete {
				wantErr = io.ErrUnexpectedEOF
				break
			}
			want = append(want, string(frame))
		}
		if diff := cmp.Diff(want, got); diff != "" || !errors.Is(err, wantErr) {
			t.Errorf("error %v, want %v; frames (-want +got):\n%s", err, wantErr, diff)
		}
	})
}

// chunks gives at most size bytes a read.
type chunks struct {
	data []byte
	size int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), c.size)], c.data)
	c.data = c.data[n:]
	return n, nil
}
