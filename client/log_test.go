package client

import (
	"errors"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
)

const (
	entryReply  = `{"continues": true, "parameters": {"entry": {"id": "a.p.0123456789ab", "timeUSec": 7, "priority": 6, "identifier": "p", "systemd": false, "message": "m"}}}`
	soFarReply  = `{"continues": true, "parameters": {}}`
	endReply    = `{"parameters": {}}`
	brokenReply = `{"error": "io.tripleo.Sidecar.HostFailure", "parameters": {"reason": "x"}}`
)

func TestReadLog(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		replies []string // and then the service hangs up
		follow  bool
		max     int
		want    int
		err     error
	}{
		"entries":             {[]string{entryReply, entryReply, endReply}, false, 0, 2, nil},
		"none":                {[]string{endReply}, false, 0, 0, nil},
		"cut off":             {[]string{entryReply}, false, 0, 1, ErrInterrupted},
		"left":                {[]string{entryReply, entryReply}, false, 1, 1, nil},
		"the journal breaks":  {[]string{entryReply, brokenReply}, false, 0, 1, interfaces.ErrHostFailure},
		"follows":             {[]string{entryReply, soFarReply, entryReply}, true, 0, 2, ErrInterrupted},
		"follows, is left":    {[]string{soFarReply, entryReply}, true, 1, 1, nil},
		"follows, and is not": {[]string{endReply}, true, 0, 0, ErrInterrupted},
		"too many followers":  {[]string{`{"error": "io.tripleo.Sidecar.Overloaded", "parameters": {"reason": "4"}}`}, true, 0, 0, interfaces.ErrOverloaded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := serveRaw(t, func(conn net.Conn) { answer(conn, make(chan string, 1), test.replies) })
			var got []interfaces.LogEntry
			var last error
			for e, err := range c.ReadLog(t.Context(), interfaces.ReadLogParameters{Follow: &test.follow}) {
				if err != nil {
					last = err
					continue // there must be nothing after it
				}
				if got = append(got, e); len(got) == test.max {
					break
				}
			}
			want := interfaces.LogEntry{ID: "a.p.0123456789ab", TimeUSec: 7, Priority: 6, Identifier: "p", Message: "m"}
			if len(got) != test.want || len(got) > 0 && !cmp.Equal(got[0], want) || !errors.Is(last, test.err) {
				t.Errorf("%+v, %v; want %d, %v", got, last, test.want, test.err)
			}
		})
	}
}
