package client

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	jsonv2 "github.com/go-json-experiment/json"

	"tripleo.io/sidecar/interfaces"
)

func TestFrame(t *testing.T) {
	t.Parallel()
	const limit = 10000
	long := strings.Repeat("x", limit)
	tests := map[string]struct {
		in, want string
		err      error
	}{
		"whole":          {in: "abc\x00def", want: "abc"},
		"empty":          {in: "\x00", want: ""},
		"as long as may": {in: long + "\x00", want: long},
		"too long":       {in: long + "x\x00", err: ErrProtocol},
		"without end":    {in: strings.Repeat("x", 10*limit), err: ErrProtocol},
		"cut":            {in: "abc", err: io.ErrUnexpectedEOF},
		"nothing":        {in: "", err: io.ErrUnexpectedEOF},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := readFrame(bufio.NewReader(iotest.HalfReader(strings.NewReader(test.in))), limit)
			if string(got) != test.want || !errors.Is(err, test.err) {
				t.Errorf("got %.20q, %v; want %.20q, %v", got, err, test.want, test.err)
			}
		})
	}
}

func TestFrameTellsReadErrors(t *testing.T) {
	t.Parallel()
	if _, err := readFrame(bufio.NewReader(iotest.ErrReader(io.ErrClosedPipe)), 10); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte("{}\x00"), 10)
	f.Add([]byte(strings.Repeat("x", 5000)+"\x00"), 4096)
	f.Fuzz(func(t *testing.T, in []byte, limit int) {
		limit = max(0, limit%8192)
		got, err := readFrame(bufio.NewReaderSize(bytes.NewReader(in), 16), limit)
		want, _, found := bytes.Cut(in, []byte{0})
		fits := found && len(want) <= limit
		if fits != (err == nil) {
			t.Fatalf("error %v for a frame that fits: %v", err, fits)
		}
		if fits && !bytes.Equal(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

func FuzzReadReply(f *testing.F) {
	f.Add([]byte(`{"parameters": {}, "continues": true}`))
	f.Add([]byte(`{"error": "io.tripleo.Sidecar.ArgumentNotAllowed", "parameters": {"index": "x"}}`))
	f.Add([]byte(`{"Error": "a.B", "parameters": {}}`))
	f.Add([]byte(`{"error": "a.B", "Error": ""}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		taken := false
		continues, err := into(func(interfaces.ListReply) { taken = true })(in)
		if taken == (err != nil) || (continues && err != nil) {
			t.Fatalf("taken %v, continues %v, error %v", taken, continues, err)
		}
		var members map[string]any
		name := ""
		if jsonv2.Unmarshal(in, &members, lenient) == nil {
			name, _ = members["error"].(string)
		}
		if told := new(UnknownError); name != "" && (err == nil || errors.As(err, &told) && told.Name != name) {
			t.Fatalf("error %q became %v", name, err)
		}
	})
}
