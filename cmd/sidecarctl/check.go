package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/paths"
	"tripleo.io/sidecar/service/imagestore"
	"tripleo.io/sidecar/service/lsm"
	"tripleo.io/sidecar/service/ociruntime"
	"tripleo.io/sidecar/service/policy"
)

// checked is a summary of the policy files.
type checked struct {
	Agents   []checkedAgent `json:"agents"`
	AppArmor string         `json:"appArmor,omitempty"` // of this host, if its own directories are checked
	SELinux  string         `json:"selinux,omitempty"`
	Warnings []string       `json:"warnings"`
}

type checkedAgent struct {
	Name              string   `json:"name"`
	Profiles          []string `json:"profiles"`
	NetworkNamespaces []string `json:"networkNamespaces"` // patterns
	HostNetwork       bool     `json:"hostNetwork"`
	MaxSidecars       int      `json:"maxSidecars"`
	StandIns          bool     `json:"standIns"`
	SpoolUser         *uint32  `json:"spoolUser,omitempty"`
	SELinuxLevel      string   `json:"selinuxLevel"`
}

func newCheck(t *tool) *cobra.Command {
	return &cobra.Command{
		Use:   "check [DIRECTORY…]",
		Short: "Check the host's policy files",
		Long: `Read the policy files, profiles.d and agents.d of each directory, as the service
would; a file of a later directory replaces the file of the same name. Every problem
is shown with file and line. For each agent: its profiles, namespaces and limit,
whether it has stand-ins, and the user of its spool.

Without a directory it reads ` + paths.Vendor + ` and ` + paths.Host + `, and also shows
what AppArmor and SELinux do for sidecars on this host. Warnings say what to do if
one of them is on without sidecar's own profiles or policy module, and if a limit of
the host (inotify instances, podman's num_locks, kernel.pid_max, the size of /run) is
too low for all sidecars that the agents' files grant. Further warnings name profiles
for which the host lacks an OCI runtime, images that are missing (if root asks), and
containers that podman could not remove so far.

Warnings do not change the exit code. The service is not called.`,
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs),
		RunE: func(_ *cobra.Command, dirs []string) error {
			result, err := check(dirs)
			if err == nil {
				t.out.checked(result)
			}
			return err
		},
	}
}

// loadPolicy reads the policy files of these directories, or of the host without any.
func loadPolicy(dirs []string) (*policy.Set, error) {
	for _, dir := range dirs {
		// policy.Load takes a directory that does not exist for an empty one.
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return nil, &usageError{fmt.Sprintf("%q is not a directory", dir)}
		}
	}
	if len(dirs) == 0 {
		dirs = []string{paths.Vendor, paths.Host}
	}
	return policy.Load(dirs...)
}

func check(dirs []string) (*checked, error) {
	set, err := loadPolicy(dirs)
	if err != nil {
		return nil, err
	}
	var sidecars granted
	result := &checked{Agents: []checkedAgent{}, Warnings: append([]string{}, set.Warnings()...)}
	for _, agent := range set.Agents() {
		sidecars.add(set, agent)
		result.Agents = append(result.Agents, checkedAgent{
			Name:              agent.Name,
			Profiles:          append([]string{}, agent.Profiles...),
			NetworkNamespaces: append([]string{}, agent.NetworkNamespaces...),
			HostNetwork:       agent.HostNetwork,
			MaxSidecars:       agent.MaxSidecars,
			StandIns:          agent.StandIns,
			SpoolUser:         agent.SpoolUser,
			SELinuxLevel:      agent.SELinuxLevel,
		})
	}
	if len(dirs) == 0 {
		state := lsm.Host()
		result.AppArmor, result.SELinux = state.AppArmor.String(), state.SELinux.String()
		result.Warnings = append(result.Warnings, slices.Concat(state.Missing(), missingRuntimes(set, ociruntime.Find),
			missingImages(set, imagestore.Host()), lacks("/", sidecars), left(leftovers))...)
	}
	return result, nil
}

// The host's resources that one sidecar takes, and that others take.
const (
	processesOfOne  = 4         // podman's monitor, and up to three of a haproxy that reloads
	runOfOne        = 160 << 10 // bytes of /run: 120 KiB with 56 KiB of arguments (podman 4.3 and 5.4), more if they are paths
	othersLocks     = 128       // podman's locks of other containers, volumes and pods
	othersInstances = 128       // root's inotify instances of systemd, journalctl -f and path units
	defaultLocks    = 2048      // num_locks of containers.conf(5)
)

const leftovers = "/run/sidecar/leftovers"

// granted counts the sidecars that agents' files grant.
type granted struct {
	all    int
	podman int // of agents that may launch a profile whose engine is podman, with a monitor and a lock for each
}

func (g *granted) add(set *policy.Set, agent *policy.Agent) {
	g.all += agent.MaxSidecars
	if slices.ContainsFunc(set.Granted(agent.Name), func(p *policy.Profile) bool { return p.Engine == interfaces.EnginePodman }) {
		g.podman += agent.MaxSidecars
	}
}

// lacks says which limits of the host whose root directory is root are too low for as many
// sidecars, and which values would do. Limits that cannot be read are left out.
func lacks(root string, sidecars granted) []string {
	var warnings []string
	limit := func(name string, have, sidecars, others int, set string) {
		if want := sidecars + others; sidecars > 0 && have > 0 && have < want {
			warnings = append(warnings, fmt.Sprintf("%s is %d, and the agents' files grant %d sidecars: "+set, name, have, sidecars, want))
		}
	}
	if _, err := os.Stat(filepath.Join(root, "sys/fs/cgroup/system.slice/memory.max")); err == nil { // one for each monitor
		limit("fs.inotify.max_user_instances", sysctl(root, "fs/inotify/max_user_instances"), sidecars.podman, othersInstances,
			"set it to %d or more in /etc/sysctl.d; without an instance nothing notices that a payload is out of memory,"+
				" and path units and journalctl -f fail")
	}
	limit("kernel.pid_max", sysctl(root, "kernel/pid_max"), sidecars.all, sidecars.all*(processesOfOne-1), "set it to %d or more in /etc/sysctl.d")
	limit("podman's num_locks", locks(root), sidecars.podman, othersLocks, "set it to %d or more in the table [engine] of"+
		" /etc/containers/containers.conf, and reboot, or run 'rm /dev/shm/libpod_lock' and 'podman system renumber' while nothing else"+
		" uses podman; further launches fail")
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Join(root, "run"), &st); err == nil {
		limit("the size of /run in MiB", int(st.Blocks*uint64(st.Bsize)>>20), sidecars.all, sidecars.all*runOfOne>>20-sidecars.all,
			"mount it with %d or more (size= of tmpfs(5)); further launches fail")
	}
	return warnings
}

// sysctl returns a number of the kernel, or 0.
func sysctl(root, name string) int {
	text, _ := os.ReadFile(filepath.Join(root, "proc/sys", name))
	n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return n
}

// locks reads podman's num_locks: the last file that has it counts (containers.conf(5)).
func locks(root string) int {
	var files []string
	for _, pattern := range []string{
		"usr/share/containers/containers.conf", "etc/containers/containers.conf",
		"usr/share/containers/containers.conf.d/*.conf", "etc/containers/containers.conf.d/*.conf",
	} {
		found, _ := filepath.Glob(filepath.Join(root, pattern))
		files = append(files, found...)
	}
	number := defaultLocks
	for _, file := range files {
		text, err := os.ReadFile(file)
		var conf struct {
			Engine struct {
				NumLocks int `toml:"num_locks"`
			} `toml:"engine"`
		}
		if err == nil && toml.Unmarshal(text, &conf) == nil && conf.Engine.NumLocks > 0 {
			number = conf.Engine.NumLocks
		}
	}
	return number
}

// missingRuntimes warns of profiles whose launches fail because the host lacks an OCI runtime.
func missingRuntimes(set *policy.Set, find func(name string) string) []string {
	var warnings []string
	for _, p := range set.Profiles() {
		names := p.Runtimes
		switch {
		case p.RuntimeRequired:
		case p.Engine == interfaces.EngineRuntime:
			names = append(slices.Clone(names), ociruntime.Default)
		default:
			continue // podman's own will do
		}
		if !slices.ContainsFunc(names, func(name string) bool { return find(name) != "" }) {
			warnings = append(warnings, fmt.Sprintf("profile %s: its launches fail, because the host has none of the OCI runtimes %s in %s",
				p.Name, strings.Join(names, ", "), strings.Join(ociruntime.Directories, ", ")))
		}
	}
	return warnings
}

// missingImages warns of images that agents' sidecars need and the store does not have. Only
// root can see that.
func missingImages(set *policy.Set, store imagestore.Store) []string {
	needed, _ := neededImages(set, nil, nil) // without a selector nothing can be wrong
	if lookForImages(needed, store) != nil {
		return nil
	}
	var warnings []string
	for _, i := range needed {
		if i.Present != nil && !*i.Present {
			warnings = append(warnings, fmt.Sprintf("image %s of %s is not on this host, and launches fail: 'sidecarctl pull' pulls it",
				i.Reference, strings.Join(i.Profiles, ", ")))
		}
	}
	return warnings
}

// left warns of containers that podman could not remove so far. Only root can see them.
func left(dir string) []string {
	var names []string
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if len(names) == 0 {
		return nil
	}
	return []string{"containers that could not be removed yet: " + strings.Join(names, ", ") +
		"; 'journalctl -u sidecar-clean' says why"}
}
