// Package podman is the engine that runs payloads in podman's containers, with conmon as the
// unit's main process. Each flag has its reason in ARCHITECTURE.md, "The unit".
package podman

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/imagestore"
)

// Engine is the podman engine.
type Engine struct {
	Store *imagestore.Store // podman's; nil: the host's
}

// command returns a podman command. Its output is in the payload's log. Without events: podman
// writes them to the journal, and waits without an end for a journald that does not read; conmon
// passes the flag on to podman's own clean-up. conmon takes the log level from podman: it warns
// of a missing memory controller at every start and end.
func command(d *document.Document, words ...string) []string {
	return append([]string{d.Program, "--events-backend=none", "--log-level=error"}, words...)
}

// Make looks up the ID of the image that the document's name stands for in podman's store now,
// "" if it is not known. Command runs that image, whatever becomes of the name.
func (e Engine) Make(_ context.Context, d *document.Document) (string, error) {
	store := e.Store
	if store == nil {
		store = new(imagestore.Host())
	}
	ids, _ := store.IDs() // without the list podman looks the name up
	d.ImageID = ids[d.Image]
	return d.ImageID, nil
}

// Preparation returns nil: podman takes the image at each launch.
func (Engine) Preparation(*document.Document, string) *document.Document { return nil }

// Command runs the container detached. Only "podman run" can leave /etc/passwd alone.
func (Engine) Command(d *document.Document) []string {
	return slices.Concat(create(d, "run", "-d", "--passwd=false"), container(d))
}

// Creation makes the container that Command would run, without running it.
func (Engine) Creation(d *document.Document) []string {
	return slices.Concat(create(d, "create"), container(d))
}

// create returns a command that makes a container. podman notes its OCI runtime.
func create(d *document.Document, words ...string) []string {
	if d.Runtime != "" {
		words = append([]string{"--runtime=" + d.Runtime}, words...)
	}
	return command(d, words...)
}

// container has the flags that say what the container is, and its first process. The entry
// point is empty: an image's own must not come before the program.
func container(d *document.Document) []string {
	argv, variables := d.Process()
	return slices.Concat(
		confinementFlags(d), mountFlags(d), tmpfsFlags(d), environmentFlags(append(slices.Clone(d.Environment), variables...)),
		[]string{"--entrypoint=[]", cmp.Or(d.ImageID, d.Image)}, argv,
	)
}

// PIDFile returns "": podman passes NOTIFY_SOCKET on to conmon.
func (Engine) PIDFile(*document.Document) string { return "" }

// Start returns nil: Command starts the payload.
func (Engine) Start(*document.Document) []string { return nil }

// Exec takes the OCI runtime and the container's ID from the command line of conmon, the unit's
// main process. By itself the runtime would move the program into the payload's control group.
func (Engine) Exec(d *document.Document, monitor []string, group string, program []string) ([]string, error) {
	value := func(option string) string {
		i := slices.Index(monitor, option) + 1
		if i == 0 || i == len(monitor) {
			return ""
		}
		return monitor[i]
	}
	runtime, container := value("-r"), value("-c")
	if runtime == "" || container == "" {
		return nil, errors.New("the unit's main process is not conmon")
	}
	return slices.Concat([]string{runtime, "exec", "--cgroup=" + group}, d.ExecOptions(), []string{container}, program), nil
}

// Delegates returns true: the payload is in a group below the unit's (--cgroups=split).
func (Engine) Delegates() bool { return true }

// Removal removes the container, running or not. It does not get the OCI runtime's path: if that
// program is not on the host any more, podman does nothing at all with it, and without it can
// still rename the container.
func (Engine) Removal(d *document.Document) []string {
	return RemovalOf(d.Program, Name(d))
}

// Rename renames the container.
func (Engine) Rename(d *document.Document) []string {
	return command(d, "rename", Name(d))
}

// Failed reports podman's exit code 125 (podman-run(1)). podman fails, even with --replace, while
// a container of the name exists whose monitor was killed and that was not cleaned up: systemctl
// kill --signal=KILL kills conmon, and with kernel 6.18 ExecStopPost as well.
func (Engine) Failed(code int) bool { return code == 125 }

// Stopped lists 128 plus SIGHUP, SIGINT, SIGKILL and SIGTERM, see Signal.
func (Engine) Stopped() (codes, signals []int32) { return []int32{129, 130, 137, 143}, nil }

// Signal returns code-128: conmon exits with 128 plus the signal that ended the payload.
func (Engine) Signal(code int) int {
	if code > 128 && code < 128+65 {
		return code - 128
	}
	return 0
}

// Name returns the name of the container: the unit's without its suffix.
func Name(d *document.Document) string {
	if d.Template != "" { // of the preparation of an image
		return document.PreparationName(d.ID)
	}
	id, _ := interfaces.ParseID(d.ID) // the document is valid
	return id.Container()
}

// confinementFlags say how podman runs the container, and what the payload may do in it.
func confinementFlags(d *document.Document) []string {
	network := "host"
	if d.NetworkNamespace() != "" {
		network = "ns:" + document.NetworkNamespacePath(d.ID)
	}
	flags := []string{
		"--rm", "--replace",
		"--name=" + Name(d), "--label=" + Label + "=" + d.ID,
		"--sdnotify=conmon", "--cgroups=split",
		"--pull=never", "--log-driver=passthrough",
		"--read-only", "--read-only-tmpfs=false", "--no-hosts",
		"--no-healthcheck", "--image-volume=ignore", "--http-proxy=false",
		"--security-opt=no-new-privileges", "--cap-drop=all",
		fmt.Sprintf("--user=%d:%d", d.User, d.Group),
		"--network=" + network,
	}
	for _, option := range []struct{ key, value string }{
		{"seccomp=", d.Seccomp}, {"apparmor=", d.AppArmor}, {"label=level:", d.SELinuxLevel}, {"label=type:", d.SELinuxType},
	} {
		if option.value != "" {
			flags = append(flags, "--security-opt="+option.key+option.value)
		}
	}
	if d.OpenFiles != 0 {
		flags = append(flags, fmt.Sprintf("--ulimit=nofile=%d:%d", d.OpenFiles, d.OpenFiles))
	}
	if d.OOMScore != nil { // podman 4.3 does not pass its own on
		flags = append(flags, fmt.Sprintf("--oom-score-adj=%d", *d.OOMScore))
	}
	if d.PIDNamespace == document.Host {
		flags = append(flags, "--pid=host")
	}
	for _, name := range d.Capabilities {
		flags = append(flags, "--cap-add="+name)
	}
	return flags
}

// mountFlags mount the pins of outermost mounts, in which the others lie, and the journal's socket
// for syslog(3). The socket is PID 1's and outlives journald; it takes lines of text only, so a
// payload cannot set fields such as DECISION.
func mountFlags(d *document.Document) []string {
	var flags []string
	for i, m := range d.Mounts {
		if d.Outermost(i) == i {
			flags = append(flags, mountFlag(document.MountPath(d.ID, i), m.Place(), m.Writable))
		}
	}
	if d.Syslog != "" {
		flags = append(flags, mountFlag(d.Syslog, "/dev/log", false))
	}
	if d.Daemonizes() {
		flags = append(flags, mountFlag(d.Init, document.InitPath, false))
	}
	return flags
}

// tmpfsFlags mount small directories of the payload's own, without the image's files and without
// programs. podman does not pass nr_inodes on: the profile's memory-max bounds the number of files.
func tmpfsFlags(d *document.Document) []string {
	var flags []string
	for _, dir := range d.Tmpfs {
		flags = append(flags, "--tmpfs="+dir+":rw,noexec,nosuid,nodev,notmpcopyup,size=1m,mode=1777")
	}
	return flags
}

func environmentFlags(variables []string) []string {
	var flags []string
	for _, assignment := range variables {
		flags = append(flags, "--env="+assignment)
	}
	return flags
}

// mountFlag returns podman's --mount. Policy refuses paths with a comma or a quote.
func mountFlag(source, target string, writable bool) string {
	flag := "--mount=type=bind,source=" + source + ",destination=" + target
	if writable {
		return flag
	}
	return flag + ",readonly=true"
}
