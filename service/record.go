package service

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/systemd"
)

const (
	// recordVariable is the environment variable of a unit that carries its
	// record. It never reaches the container: podman passes none of its own
	// environment on.
	recordVariable = "SIDECAR_RECORD"

	// maxString is the longest argument or environment variable that the kernel
	// passes on, with its NUL: MAX_ARG_STRLEN, 32 pages (execve(2)).
	maxString = 128 << 10
)

// record is what a unit remembers of its launch, so that the daemon need not.
type record struct {
	Context interfaces.Context `json:"context"`
	Image   string             `json:"image"`
}

// environment returns the assignment that goes into the unit. Its error names
// the arguments, the only part that can be too long.
func (r record) environment() (string, error) {
	text, err := jsonText(r)
	if err != nil {
		return "", err
	}
	assignment := recordVariable + "=" + text
	if len(assignment) >= maxString {
		return "", tooLong(len(assignment))
	}
	return assignment, nil
}

func jsonText(v any) (string, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // would make six bytes of each '<'
	err := encoder.Encode(v)
	return strings.TrimSuffix(text.String(), "\n"), err
}

func tooLong(bytes int) error {
	return &interfaces.InvalidParameterError{
		Parameter: "arguments",
		Reason:    fmt.Sprintf("written as JSON they take %d bytes; the unit can carry fewer than %d", bytes, maxString),
	}
}

// recordOf reads the record of a unit. A unit that somebody else made under a
// sidecar's name, or that a later version wrote, may have none that is readable.
func recordOf(u systemd.Unit) (record, bool) {
	for _, assignment := range u.Environment {
		text, ok := strings.CutPrefix(assignment, recordVariable+"=")
		if !ok {
			continue
		}
		var r record
		err := json.Unmarshal([]byte(text), &r)
		return r, err == nil
	}
	return record{}, false
}
