package service

import (
	"encoding/json"
	"strings"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/systemd"
)

// recordVariable is the environment variable of a unit that carries its record.
// It never reaches the container: podman passes none of its own environment on.
const recordVariable = "SIDECAR_RECORD"

// record is what a unit remembers of its launch, so that the daemon need not.
type record struct {
	Context interfaces.Context `json:"context"`
	Image   string             `json:"image"`
}

// environment returns the assignment that goes into the unit.
func (r record) environment() (string, error) {
	text, err := json.Marshal(r)
	return recordVariable + "=" + string(text), err
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
