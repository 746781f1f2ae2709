// Package engine has the engines that run containers. An engine makes commands from the document
// of a unit, and interprets exit codes; no other package does that for it. The core and
// sidecar-launch look engines up by the name in the document.
package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/engine/oci"
	"tripleo.io/sidecar/service/engine/podman"
)

// Engine runs payloads in containers. Commands begin with the absolute path of a program.
type Engine interface {
	// Preparation returns the document of a unit that prepares the image ahead of launches such
	// as d's (sidecar-launch prepare), with the path of podman, and nil if the engine needs none.
	// d.Template must become the preparation's.
	Preparation(d *document.Document, podman string) *document.Document
	// Make makes what Command needs, after sidecar-launch has made the pins, and returns the
	// image's ID, "" if it is not known. The error is a [*ProgramError] if the image does not
	// have the program. For an engine with Start, the pins and what Make mounts are in a mount
	// namespace of the launch's own.
	Make(ctx context.Context, d *document.Document) (image string, err error)
	// Command returns the command that makes the container. sidecar-launch runs it after Make.
	Command(d *document.Document) []string
	// PIDFile returns the file in which a successful Command leaves the number of the
	// container's first process, which is the unit's main process then. "": Command sends
	// MAINPID= and READY=1 to its NOTIFY_SOCKET instead, before it exits (sd_notify(3)).
	PIDFile(d *document.Document) string
	// Start returns the command that starts the payload in the container that Command has made;
	// nil: Command has started it.
	Start(d *document.Document) []string
	// Exec returns the command with which the OCI runtime runs another program in the running
	// container, confined as the payload is. monitor is the command line of the unit's main
	// process. group is a control group below the payload's, in which the command is started;
	// the program must stay in it.
	Exec(d *document.Document, monitor []string, group string, program []string) ([]string, error)
	// Delegates reports whether the container has a control group of its own, below the unit's.
	// If not, the unit restricts the devices.
	Delegates() bool
	// Removal returns the command that removes the container. Its last word is the container's
	// name.
	Removal(d *document.Document) []string
	// Rename returns the command that renames the container, without its last word, the new
	// name; nil if a container that cannot be removed does not hold up the next one.
	Rename(d *document.Document) []string
	// Failed reports whether sidecar-launch's exit code means that the engine failed, and not
	// the payload.
	Failed(code int) bool
	// Stopped lists how the unit's main process ends, by exit code or by signal, when SIGHUP,
	// SIGINT, SIGKILL or SIGTERM has ended the payload; systemd itself counts the others of
	// these signals.
	Stopped() (codes, signals []int32)
	// Signal returns the number of the signal that ended the payload according to the exit code
	// of the unit's main process, 0 if none did.
	Signal(code int) int
}

// ProgramError means that the image does not have the payload's program.
type ProgramError = oci.ProgramError

// Prepare prepares an image and writes the template of its containers, for a document that
// [Engine.Preparation] has made.
func Prepare(ctx context.Context, d *document.Document) error { return oci.Engine{}.Prepare(ctx, d) }

// Keep says which templates of images the policy needs, for [Prune], or that it needs more than so
// far. It reports whether there may be something to prune.
func Keep(templates []string, more bool) (bool, error) { return oci.Keep(templates, more) }

// Forget removes what is noted of sidecars whose units do not exist any more.
func Forget(sidecars []string) { oci.Forget(sidecars) }

// Unprepared begins the reason of a launch that failed for want of a template.
const Unprepared = oci.Unprepared

// Prune removes templates, and unmounts images, that neither the policy nor a sidecar needs.
func Prune(ctx context.Context) error { return oci.Prune(ctx) }

// Container is a container of a sidecar, or of the preparation of an image, in any state.
type Container struct {
	ID      string   // the sidecar's
	Name    string   // podman's renamed containers have another one than they were made with
	Unit    string   // that has made it
	Removal []string // the command that removes it
}

// Containers lists the containers that the engines know. On a host without podman, only the OCI
// runtimes' containers are listed.
func Containers(ctx context.Context) ([]Container, error) {
	var all []Container
	var err error
	if program, missing := exec.LookPath("podman"); missing == nil {
		var listed []podman.Container
		listed, err = podman.Containers(ctx, program)
		for _, c := range listed {
			all = append(all, Container{c.ID, c.Name, unitOf(c.ID, c.Name), podman.RemovalOf(program, c.Name)})
		}
	}
	states, ociErr := oci.Containers()
	for id, removal := range states {
		all = append(all, Container{id, id, unitOf(id, id), removal})
	}
	return all, errors.Join(err, ociErr)
}

// unitOf returns the unit of a sidecar, or of a preparation, by the name of its container.
func unitOf(id, name string) string {
	if preparation := document.PreparationName(id); name == preparation {
		return preparation + ".service"
	}
	parsed, _ := interfaces.ParseID(id) // of anything else no unit exists
	return parsed.Unit()
}

var engines = map[string]Engine{interfaces.EnginePodman: podman.Engine{}, interfaces.EngineRuntime: oci.Engine{}}

// Of returns the engine of this name.
func Of(name string) (Engine, error) {
	e, ok := engines[name]
	if !ok {
		return nil, fmt.Errorf("engine %.40q is none of %q", name, slices.Sorted(maps.Keys(engines)))
	}
	return e, nil
}
