package clienttest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Exchange is one call and its replies.
type Exchange struct {
	Request any      // the call's JSON, decoded
	Replies []string // frames without their NUL, sent in this order
	HangUp  bool     // close the connection after the replies
}

// Script is the list of a Server's exchanges. Every call is answered by the first
// exchange whose request is equal as JSON.
type Script []Exchange

// ParseScript reads a script:
//
//	# a comment
//	> {"method": "io.tripleo.Sidecar.Stop",
//	   "parameters": {"id": "a.b.0123456789ab"}}
//	< {"parameters": {"exitCode": 0}}
//
// A line that starts with white space continues the one before it. "< hang up"
// closes the connection; a request without any reply leaves its caller waiting.
// NOW-5m stands for the time five minutes ago, in microseconds since the epoch.
func ParseScript(text string) (Script, error) {
	var script Script
	for n, line := range logicalLines(atNow(text, time.Now())) {
		kind, rest, _ := strings.Cut(line, " ")
		var err error
		switch {
		case kind == ">":
			script, err = script.withRequest(rest)
		case kind == "<" && len(script) > 0:
			err = script[len(script)-1].addReply(rest)
		default:
			err = fmt.Errorf("neither a request nor a reply")
		}
		if err != nil {
			return nil, fmt.Errorf("item %d of the script: %w", n+1, err)
		}
	}
	return script, nil
}

func (s Script) withRequest(text string) (Script, error) {
	var request any
	if err := json.Unmarshal([]byte(text), &request); err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	return append(s, Exchange{Request: request}), nil
}

func (e *Exchange) addReply(text string) error {
	switch {
	case text == "hang up":
		e.HangUp = true
	case !json.Valid([]byte(text)):
		return fmt.Errorf("reply is not JSON: %s", text)
	default:
		e.Replies = append(e.Replies, text)
	}
	return nil
}

// find returns the number of the exchange that answers the request, or -1.
func (s Script) find(request []byte) int {
	var got any
	if json.Unmarshal(request, &got) != nil {
		return -1
	}
	for i, e := range s {
		if reflect.DeepEqual(e.Request, got) {
			return i
		}
	}
	return -1
}

func logicalLines(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.TrimSpace(line) == "", strings.HasPrefix(line, "#"):
		case len(lines) > 0 && strings.TrimLeft(line, " \t") != line:
			lines[len(lines)-1] += " " + strings.TrimSpace(line)
		default:
			lines = append(lines, line)
		}
	}
	return lines
}

var ago = regexp.MustCompile(`NOW-([0-9hms]+)`)

func atNow(text string, now time.Time) string {
	return ago.ReplaceAllStringFunc(text, func(s string) string {
		d, err := time.ParseDuration(strings.TrimPrefix(s, "NOW-"))
		if err != nil {
			return s
		}
		return strconv.FormatInt(now.Add(-d).UnixMicro(), 10)
	})
}
