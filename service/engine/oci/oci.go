// Package oci is the engine that runs the host's OCI runtime (crun) on an image in podman's
// store, without podman at run time and without a process beside the payload: the payload is
// the unit's main process itself, in the unit's own control group.
//
// podman still decides what a container is. [Engine.Prepare] runs ahead of launches, in a unit
// of its own: it mounts the image, has podman make a container with the same flags as the podman
// engine, and keeps the OCI configuration that podman wrote as a template. A launch
// ([Engine.Make]) completes the template with what the document says.
package oci

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/document"
)

// Engine is the engine of the OCI runtime.
type Engine struct{}

// states has a directory for each runtime, in which it keeps what it knows of its containers.
const states = "/run/sidecar/runtime"

// state returns the directory of a document's runtime.
func state(d *document.Document) string { return states + "/" + filepath.Base(d.Program) }

// hashDigits is the length of the last part of an ID.
const hashDigits = 12

// Preparation returns the document of podman's container: all that the launches of a profile
// for an agent have in common. Its ID and its template are derived from everything else.
func (Engine) Preparation(d *document.Document, podman string) *document.Document {
	id, _ := interfaces.ParseID(d.ID) // the document is valid
	prepared := &document.Document{
		Context: interfaces.Context{Agent: id.Agent, Profile: id.Profile, Arguments: []string{}},
		Plan: document.Plan{
			Engine: interfaces.EnginePodman, Program: podman, Runtime: podmansRuntime(d.Program),
			Image: d.Image, Environment: d.Environment, User: d.User, Group: d.Group,
			Capabilities: d.Capabilities, PIDNamespace: d.PIDNamespace, Seccomp: d.Seccomp,
			AppArmor: d.AppArmor, SELinuxLevel: d.SELinuxLevel, SELinuxType: d.SELinuxType,
			Syslog: d.Syslog, OpenFiles: d.OpenFiles, OOMScore: d.OOMScore,
		},
	}
	if d.NetworkNamespace() != "" {
		prepared.Context.NetworkNamespace = new("new")
	}
	text, _ := document.JSON(prepared) // nothing in it can fail
	sum := sha256.Sum256([]byte(text))
	id.Hash = hex.EncodeToString(sum[:])[:hashDigits]
	prepared.ID, prepared.Template = id.String(), id.Hash
	return prepared
}

// podmansRuntime returns the runtime that podman gets for a container that is never started. It
// is the launches', because podman decides more by it for virtual machines, but not crun: what
// podman writes for crun is the same as for its own runtime, which works with podman.
func podmansRuntime(path string) string {
	if filepath.Base(path) == "crun" {
		return ""
	}
	return path
}

// Command makes the container. Each flag has its reason in ARCHITECTURE.md, "The runtime
// engine".
func (Engine) Command(d *document.Document) []string {
	return runtime(d, "create", "--bundle="+bundle(d.ID), "--pid-file="+Engine{}.PIDFile(d), d.ID)
}

// PIDFile returns the file that the runtime writes.
func (Engine) PIDFile(d *document.Document) string { return bundle(d.ID) + "/pid" }

// Start starts the payload: the service manager knows the process by then, and so learns its
// exit status even if it exits at once.
func (Engine) Start(d *document.Document) []string { return runtime(d, "start", d.ID) }

// Removal kills what remains in the container, and deletes the runtime's state.
func (Engine) Removal(d *document.Document) []string { return runtime(d, "delete", "--force", d.ID) }

// Rename returns nil: a container that cannot be removed has no process and no mount any more.
func (Engine) Rename(*document.Document) []string { return nil }

// Exec runs the program where the runtime itself is started: the container has no control group
// that the runtime knows.
func (Engine) Exec(d *document.Document, _ []string, _ string, program []string) ([]string, error) {
	return append(runtime(d, "exec", "--no-new-privs", d.ID), program...), nil
}

// Delegates returns false: the payload stays in the unit's own control group.
func (Engine) Delegates() bool { return false }

// Failed returns false: any exit code can be the payload's own.
func (Engine) Failed(int) bool { return false }

// sigKILL is the one signal of a stop that systemd counts as a failure by itself.
const sigKILL = 9

// Stopped lists SIGKILL, and 128 plus SIGHUP, SIGINT, SIGKILL and SIGTERM: programs such as
// haproxy, and sidecar-init, exit with these.
func (Engine) Stopped() (codes, signals []int32) {
	return []int32{129, 130, 137, 143}, []int32{sigKILL}
}

// Signal returns 0: the exit code is the payload's own.
func (Engine) Signal(int) int { return 0 }

func bundle(id string) string { return document.Pins(id) + "/" + document.BundleName }

func rootfs(id string) string { return document.Pins(id) + "/" + document.RootName }

// runtime returns a command of the runtime. The container gets no control group of its own.
func runtime(d *document.Document, words ...string) []string {
	return append([]string{d.Program, "--root=" + state(d), document.OwnGroupOption(d.Program)}, words...)
}
