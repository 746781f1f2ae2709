package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/netns"
	"tripleo.io/sidecar/service/ociruntime"
	"tripleo.io/sidecar/service/policy"
)

const namespaces = "/run/netns"

func (h *Host) lookAtNamespaces(ctx context.Context) []Finding {
	mounts, err := os.ReadFile(h.path("proc/self/mountinfo"))
	if err != nil {
		return blind(namespaces, err, "look at 'findmnt -o TARGET,PROPAGATION'")
	}
	var found []Finding
	if at := holder(string(mounts), namespaces); at.shared == "" {
		advice := "'mount --make-shared " + namespaces + "'"
		if at.point != namespaces {
			advice = "'mount --bind " + namespaces + " " + namespaces + "', " + advice
		}
		found = append(found, Finding{
			Level: Error, Subject: namespaces, Problem: "it is not shared: the host does not see the namespaces that agents make",
			Advice: advice + ", 'systemctl restart sidecard', and start the agents' containers again",
		})
	} else if daemon := h.daemonsMounts(ctx); daemon != "" && !holder(daemon, namespaces).follows(at) {
		found = append(found, Finding{
			Level: Error, Subject: "sidecard.service", Problem: "it does not see new names in " + namespaces + ", which was mounted again since its start",
			Advice: "'systemctl restart sidecard', and start the agents' containers again",
		})
	}
	entries, err := os.ReadDir(h.path(namespaces))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return append(found, blind(namespaces, err, "look at it as root")...)
	}
	for _, entry := range entries {
		err := netns.Directory{Path: h.path(namespaces)}.Check(entry.Name())
		if err == nil {
			continue
		}
		remove := "'ip netns delete " + entry.Name() + "'"
		if !policy.ValidNamespace(entry.Name()) { // an agent's text is no command for a shell of root
			remove = "'ip netns delete' with this name, quoted for the shell,"
		}
		found = append(found, Finding{
			Level: Warning, Subject: filepath.Join(namespaces, entry.Name()), Problem: err.Error(),
			Advice: remove + " removes it; if an agent has made it, its container needs " + namespaces + " shared (rshared)",
		})
	}
	return found
}

// daemonsMounts returns the mounts that sidecard sees, "" if they cannot be read.
func (h *Host) daemonsMounts(ctx context.Context) string {
	pid, err := h.Run(ctx, "systemctl", "show", "-P", "MainPID", "sidecard.service")
	if err != nil {
		return ""
	}
	text, _ := os.ReadFile(h.path("proc", strings.TrimSpace(pid), "mountinfo"))
	return string(text)
}

// mount is a mount point, with the groups of mounts to which it passes changes on, and from which
// it gets them (proc_pid_mountinfo(5), mount_namespaces(7)).
type mount struct{ point, shared, master string }

// follows reports whether a mount sees what is mounted in another one.
func (m mount) follows(other mount) bool {
	return m.shared == other.shared || m.master == other.shared
}

// holder returns the mount on which a path lies.
func holder(mountinfo, path string) (found mount) {
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		if len(fields) < 7 {
			continue
		}
		at := fields[4]
		beneath := at == "/" || path == at || strings.HasPrefix(path, at+"/")
		if !beneath || len(at) < len(found.point) {
			continue
		}
		found = mount{point: at}
		for _, option := range fields[6:] {
			if option == "-" {
				break
			}
			switch name, group, _ := strings.Cut(option, ":"); name {
			case "shared":
				found.shared = group
			case "master":
				found.master = group
			}
		}
	}
	return found
}

// granted returns the profiles that agents may launch, each once with each image that agents' files
// name for it.
func granted(set *policy.Set) []*policy.Profile {
	var all []*policy.Profile
	for _, agent := range set.Agents() {
		all = append(all, set.Granted(agent.Name)...)
	}
	slices.SortFunc(all, func(a, b *policy.Profile) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Image, b.Image))
	})
	return slices.CompactFunc(all, func(a, b *policy.Profile) bool { return a.Name == b.Name && a.Image == b.Image })
}

func (h *Host) lookAtImages(ctx context.Context) []Finding {
	set, err := h.Policy()
	if err != nil {
		return blind("profiles", err, "'sidecarctl check' shows every problem")
	}
	ids, _ := h.Images() // without the list podman is asked
	var found []Finding
	missing := map[string]bool{}
	for _, p := range granted(set) {
		if ids[p.Image] != "" {
			continue
		}
		if _, asked := missing[p.Image]; !asked {
			_, err := h.Run(ctx, "podman", "image", "exists", p.Image)
			missing[p.Image] = err != nil
		}
		if missing[p.Image] {
			found = append(found, Finding{
				Level: Error, Subject: p.Name, Problem: "its image " + p.Image + " is not on the host",
				Advice: "'sidecarctl pull " + p.Name + "', or build or load it; then 'systemctl reload sidecard'",
			})
		}
	}
	return found
}

func (h *Host) lookAtRuntimes(context.Context) []Finding {
	set, err := h.Policy()
	if err != nil {
		return blind("profiles", err, "'sidecarctl check' shows every problem")
	}
	var found []Finding
	for _, p := range slices.CompactFunc(granted(set), func(a, b *policy.Profile) bool { return a.Name == b.Name }) {
		names := p.Runtimes
		required := p.RuntimeRequired
		if p.Engine == interfaces.EngineRuntime && !required {
			names, required = append(slices.Clone(names), ociruntime.Default), true
		}
		if len(names) == 0 || slices.ContainsFunc(names, func(name string) bool { return h.Runtime(name) != "" }) {
			continue
		}
		finding := Finding{
			Level: Error, Subject: p.Name, Problem: "the host has none of its OCI runtimes: " + strings.Join(names, ", "),
			Advice: "install " + names[0] + ", and 'systemctl reload sidecard'",
		}
		if !required {
			finding.Level, finding.Problem = Warning, finding.Problem+"; podman uses its own"
		}
		found = append(found, finding)
	}
	return found
}

// version is a number such as 5.4, of which only two parts matter.
type version [2]int

var versionText = regexp.MustCompile(`(\d+)(?:\.(\d+))?`)

func parseVersion(text string) (v version, ok bool) {
	match := versionText.FindStringSubmatch(text)
	if match == nil {
		return v, false
	}
	v[0], _ = strconv.Atoi(match[1]) // they are digits
	v[1], _ = strconv.Atoi(match[2]) // or nothing
	return v, true
}

func (v version) before(other version) bool { return slices.Compare(v[:], other[:]) < 0 }

// requirements are the versions that programs must have, and what is missing with an older one.
var requirements = []struct {
	level   Level
	subject string
	argv    []string
	least   version
	problem string
}{
	{Error, "kernel", []string{"uname", "-r"}, version{5, 8}, "nothing can be launched"},
	{Note, "kernel", []string{"uname", "-r"}, version{6, 5}, "only root may use the host's socket; others use the system bus"},
	{Error, "systemd", []string{"systemctl", "--version"}, version{252, 0}, "units cannot be started"},
	{Error, "podman", []string{"podman", "--version"}, version{4, 3}, "containers cannot be made"},
	{Note, "polkit", []string{"pkaction", "--version"}, version{124, 0}, "only root may use the host's socket; others use the system bus"},
}

func (h *Host) lookAtVersions(ctx context.Context) []Finding {
	var found []Finding
	for _, r := range requirements {
		text, err := h.Run(ctx, r.argv...)
		has, ok := parseVersion(text)
		if err != nil || !ok {
			if r.level == Error {
				found = append(found, Finding{Level: Error, Subject: r.subject, Problem: fmt.Sprintf("its version is not known: %v", err), Advice: "install " + r.subject})
			}
			continue
		}
		if has.before(r.least) {
			found = append(found, Finding{
				Level: r.level, Subject: r.subject, Problem: fmt.Sprintf("version %d.%d is older than %d.%d: %s", has[0], has[1], r.least[0], r.least[1], r.problem),
				Advice: "upgrade " + r.subject,
			})
		}
	}
	return found
}
