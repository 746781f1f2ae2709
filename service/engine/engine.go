// Package engine has the engines that run containers. An engine makes commands from the document
// of a unit, and interprets exit codes; no other package makes its commands or interprets its exit codes. The core
// and sidecar-launch look engines up by the name in the document.
package engine

import (
	"fmt"
	"maps"
	"slices"

	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/engine/podman"
)

// Podman is the name of the default engine.
const Podman = "podman"

// Engine runs payloads in containers. Commands begin with the absolute path of a program.
type Engine interface {
	// Command returns the command that makes the container and starts the payload in it. It
	// sends MAINPID= and READY=1 to its NOTIFY_SOCKET when the payload runs, and exits
	// (sd_notify(3)). sidecar-launch runs it after the preparation.
	Command(d *document.Document) []string
	// Removal returns the command that removes the container. Its last word is the container's
	// name.
	Removal(d *document.Document) []string
	// Rename returns the command that renames the container, without its last word, the new name.
	Rename(d *document.Document) []string
	// Failed reports whether Command's exit code means that the engine failed, and not the
	// payload.
	Failed(code int) bool
	// Stopped lists the exit codes of the unit's main process for a payload that SIGHUP, SIGINT,
	// SIGKILL or SIGTERM has ended.
	Stopped() []int32
	// Signal returns the number of the signal that ended the payload according to the exit code
	// of the unit's main process, 0 if none did.
	Signal(code int) int
}

var engines = map[string]Engine{Podman: podman.Engine{}}

// Of returns the engine of this name.
func Of(name string) (Engine, error) {
	e, ok := engines[name]
	if !ok {
		return nil, fmt.Errorf("engine %.40q is none of %q", name, slices.Sorted(maps.Keys(engines)))
	}
	return e, nil
}
