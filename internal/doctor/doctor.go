// Package doctor finds what is out of line on a host where sidecars run, and says how to mend
// each. 'sidecarctl check' looks at files: what the policy says, and whether the host is large
// enough for it. This package looks at what runs: processes, units, containers, sockets, and
// programs that should answer.
//
// A look can wait without an end, for a file system of an agent or for a program that does not
// answer, and nobody can interrupt it. So 'sidecarctl doctor' gives each look a process of its
// own, and leaves it behind when its time is over.
//
// Out of scope: mending. Each finding names the command.
package doctor

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/retry"
	"tripleo.io/sidecar/service/engine/podman"
	"tripleo.io/sidecar/service/policy"
)

// Level says how bad a finding is.
type Level string

// The levels.
const (
	Error   Level = "error"   // something does not work
	Warning Level = "warning" // something will not work, was lost, or could not be looked at
	Note    Level = "note"    // a limit of this host that changes nothing for its agents
)

// Finding is something that is out of line.
type Finding struct {
	Level   Level  `json:"level"`
	Look    string `json:"look"`
	Subject string `json:"subject"` // a sidecar's ID, a unit, a path, a program
	Problem string `json:"problem"`
	Advice  string `json:"advice"` // how to mend it
}

// Look is one kind of look at the host.
type Look struct {
	Name  string
	About string
	Root  bool // only root can see it
	do    func(*Host, context.Context) []Finding
}

// Looks has all looks, in the order in which findings are shown.
var Looks = []Look{
	{"service", "whether sidecard answers, and has accepted the policy files", false, (*Host).lookAtService},
	{"sockets", "whether each agent has its socket", true, (*Host).lookAtSockets},
	{"bus", "whether the service can be called on the system bus", false, (*Host).lookAtBus},
	{"units", "sidecars that have failed, and units without a process or, with podman, a container", true, (*Host).lookAtUnits},
	{"containers", "podman's containers without a unit", true, (*Host).lookAtContainers},
	{"pid-files", "pid files that do not name the sidecar's process, but for agents with stand-ins", true, (*Host).lookAtPIDFiles},
	{"namespaces", "whether /run/netns is shared, and names that are no namespaces", false, (*Host).lookAtNamespaces},
	{"images", "images of granted profiles that the host does not have", true, (*Host).lookAtImages},
	{"runtimes", "OCI runtimes of granted profiles that the host does not have", false, (*Host).lookAtRuntimes},
	{"versions", "a kernel, systemd, podman or polkit that is too old; a kernel before 6.5 or a" +
		"\npolkit before 124 is a note: only root may use the host's socket", false, (*Host).lookAtVersions},
	{"journal", "a journald that does not read, and entries lost or dropped within the last hour", true, (*Host).lookAtJournal},
	{"leftovers", "containers, pins and notes that wait for their removal", true, (*Host).lookAtLeftovers},
}

// Service is what the looks ask the service.
type Service interface {
	List(ctx context.Context, p interfaces.ListParameters) ([]interfaces.Sidecar, error)
	Info(ctx context.Context) (*client.Info, error)
}

// Host is what the looks look at.
type Host struct {
	Root    string                                                    // "" for /
	Service Service                                                   // on the host's socket
	Bus     Service                                                   // on the system bus
	Policy  func() (*policy.Set, error)                               // the host's policy files
	Run     func(ctx context.Context, argv ...string) (string, error) // runs a program and returns its output
	Images  func() (map[string]string, error)                         // podman's images: the ID of each name
	Runtime func(name string) string                                  // path of an OCI runtime, "" if the host does not have it
	Podman  func(ctx context.Context) ([]podman.Container, error)     // podman's containers of sidecars
}

// callLimit bounds each call and each program of a look.
const callLimit = 5 * time.Second

// secondLook is the pause before a look is repeated.
const secondLook = time.Second

// Look does one look, and again if it finds anything: sidecars come and go meanwhile, and only
// what is found twice is out of line. Findings have the look's name.
func (h *Host) Look(ctx context.Context, look Look) []Finding {
	first := look.do(h, ctx)
	if len(first) == 0 {
		return nil
	}
	_ = retry.Pause(ctx, secondLook) // the second look ends with ctx, too
	var findings []Finding
	for _, f := range look.do(h, ctx) {
		if slices.ContainsFunc(first, f.repeats) {
			f.Look = look.Name
			findings = append(findings, f)
		}
	}
	return findings
}

// repeats reports whether a finding is about the same as an earlier one. The problem's text may
// differ: the bus says its name of the caller.
func (f Finding) repeats(earlier Finding) bool {
	return f.Level == earlier.Level && f.Subject == earlier.Subject && f.Advice == earlier.Advice
}

// Unseen is the finding of a look that could not be done.
func (l Look) Unseen(why string) Finding {
	advice := "look again; if it stays so, 'sidecarctl doctor --here " + l.Name + "' shows what it waits for"
	if l.Root && os.Geteuid() != 0 {
		advice = "run it as root"
	}
	return Finding{Warning, l.Name, l.Name, "not looked at: " + why, advice}
}

// Run runs a program within the time of a call.
func Run(ctx context.Context, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	switch {
	case ctx.Err() != nil:
		err = fmt.Errorf("%s has not answered within %v", argv[0], callLimit)
	case err != nil:
		err = fmt.Errorf("%s: %v %s", argv[0], err, strings.TrimSpace(stderr.String()))
	}
	return string(out), err
}

func (h *Host) path(words ...string) string {
	return filepath.Join(append([]string{h.Root, "/"}, words...)...)
}

// hasUnit reports whether systemd has loaded a transient unit.
func (h *Host) hasUnit(name string) bool {
	_, err := os.Lstat(h.path("run/systemd/transient", name))
	return err == nil
}

// blind is the only finding of a look that fails.
func blind(subject string, err error, advice string) []Finding {
	return []Finding{{Level: Warning, Subject: subject, Problem: "not looked at: " + err.Error(), Advice: advice}}
}
