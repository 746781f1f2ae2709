package spool

import (
	"encoding/json"
	"regexp"
	"strings"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// DefaultDirectory is the spool in an agent's container. On the host it holds the
// spools of all agents, by their names.
const DefaultDirectory = "/var/lib/sidecar/spool"

// The directories of a spool, relative to it.
const (
	Requests  = "requests"
	Temporary = "requests/tmp"
	New       = "requests/new"
	Claimed   = "claimed"
	Results   = "results"
	Refused   = "refused"
)

const (
	// MaxRequest is the largest request in bytes, as of a call over varlink
	// (service/varlink's Limits).
	MaxRequest = 256 << 10
	// MaxResult is the largest result in bytes, as of a varlink reply.
	MaxResult = 16 << 20
	// MaxAge is how long a Client waits for the answer to a request.
	MaxAge = 60 * time.Second
)

// The methods that a request can name.
const (
	MethodLaunch = interfaces.Name + ".Launch"
	MethodList   = interfaces.Name + ".List"
	MethodStop   = interfaces.Name + ".Stop"
	MethodSignal = interfaces.Name + ".Signal"
)

// Call is a request: one varlink call.
type Call struct {
	Method     string          `json:"method"`
	Parameters json.RawMessage `json:"parameters,omitempty"`
}

// Reply is a result: one varlink reply.
type Reply struct {
	Parameters json.RawMessage `json:"parameters,omitempty"`
	Error      string          `json:"error,omitempty"` // full name; empty: none
}

// ListReply is the answer to List over a spool: all sidecars at once.
type ListReply struct {
	Sidecars []interfaces.Sidecar `json:"sidecars"`
}

const suffix = ".json"

var validName = regexp.MustCompile(`^[0-9a-f]{32}$`)

// File returns the name of the file of a request or a result.
func File(name string) string { return name + suffix }

// ParseFile returns the NAME of the file of a request or a result, and false for any
// other file.
func ParseFile(file string) (name string, ok bool) {
	name, ok = strings.CutSuffix(file, suffix)
	if !ok || !validName.MatchString(name) {
		return "", false
	}
	return name, true
}
