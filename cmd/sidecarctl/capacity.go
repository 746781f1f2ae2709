package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"golang.org/x/sys/unix"
)

// The host's resources that a sidecar takes.
const (
	processesOfOne = 4 // podman's monitor, and up to three of a haproxy that reloads
	// runOfOne is what one with the longest arguments takes of /run, in bytes. A usual
	// dnsmasq takes 69 KiB (podman 5.4).
	runOfOne = 360 << 10
	// othersLocks are the locks of podman that are for other containers, volumes and pods.
	othersLocks = 128
	// othersInstances are the inotify instances of root that are for others: systemd,
	// journalctl -f, path units.
	othersInstances = 128
	defaultLocks    = 2048 // num_locks of containers.conf(5)
)

const leftovers = "/run/sidecar/leftovers"

// lacks says which limits of the host below root are too low for as many sidecars, and
// what would be right. What cannot be read is left out.
func lacks(root string, sidecars int) []string {
	if sidecars == 0 {
		return nil
	}
	var warnings []string
	limit := func(name string, have, want int, set string) {
		if have > 0 && have < want {
			warnings = append(warnings, fmt.Sprintf("%s is %d, and the agents' files grant %d sidecars: %s", name, have, sidecars, fmt.Sprintf(set, want)))
		}
	}
	const sysctl = "/etc/sysctl.d"
	if _, err := os.Stat(filepath.Join(root, "sys/fs/cgroup/system.slice/memory.max")); err == nil { // then each monitor has one
		limit("fs.inotify.max_user_instances", sysctlOf(root, "proc/sys/fs/inotify/max_user_instances"), sidecars+othersInstances,
			"set it to %d or more in "+sysctl+"; without an instance it is not noticed that a payload is out of memory, and path units and journalctl -f have none either")
	}
	limit("kernel.pid_max", sysctlOf(root, "proc/sys/kernel/pid_max"), sidecars*processesOfOne, "set it to %d or more in "+sysctl)
	limit("podman's num_locks", locks(root), sidecars+othersLocks, "set it to %d or more in the table [engine] of /etc/containers/containers.conf, and run 'podman system renumber'; further launches fail")
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Join(root, "run"), &st); err == nil {
		limit("the size of /run in MiB", int(st.Blocks*uint64(st.Bsize)>>20), sidecars*runOfOne>>20, "mount it with %d or more (size= of tmpfs(5)); further launches fail")
	}
	return warnings
}

func sysctlOf(root, path string) int {
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return n
}

// locks reads podman's num_locks. Of several files the last one that names it counts
// (containers.conf(5)).
func locks(root string) int {
	files := []string{"usr/share/containers/containers.conf", "etc/containers/containers.conf"}
	for _, dir := range []string{"usr/share/containers/containers.conf.d", "etc/containers/containers.conf.d"} {
		found, _ := filepath.Glob(filepath.Join(root, dir, "*.conf"))
		for _, path := range found {
			rel, _ := filepath.Rel(root, path)
			files = append(files, rel)
		}
	}
	number := defaultLocks
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(root, file))
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

// left names what podman could not remove so far.
func left(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // it does not exist, or we are not root
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if len(names) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("containers that could not be removed yet: %s; 'journalctl -u sidecar-clean' says why", strings.Join(names, ", "))}
}
