package testhost

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// cgroupMounts returns where the unified hierarchy is mounted and, on a
// hybrid machine, where systemd's named one is (empty if nowhere).
func cgroupMounts() (unified, named string, err error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", "", err
	}
	for _, entry := range parseMounts(string(table)) {
		switch {
		case entry.fsType == "cgroup2" && unified == "":
			unified = entry.point
		case entry.fsType == "cgroup" && filepath.Base(entry.point) == "systemd":
			named = entry.point
		}
	}
	if unified == "" {
		return "", "", errors.New("no cgroup v2 hierarchy is mounted")
	}
	return unified, named, nil
}

// cgroupOf returns the directory of a process's cgroup in the unified
// hierarchy. pid may be "self".
func cgroupOf(pid string) (string, error) {
	unified, _, err := cgroupMounts()
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(filepath.Join("/proc", pid, "cgroup"))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if path, found := strings.CutPrefix(line, "0::"); found {
			return filepath.Join(unified, strings.TrimSpace(path)), nil
		}
	}
	return "", fmt.Errorf("process %s is in no cgroup of the unified hierarchy", pid)
}

// makeCgroup makes a cgroup for one host below our own. Without systemd on
// the machine nobody else gives nspawn one, and two hosts in the same cgroup
// would take each other's processes for their own.
func makeCgroup(id string) (string, error) {
	own, err := cgroupOf("self")
	if err != nil {
		return "", err
	}
	dir := filepath.Join(own, id)
	return dir, os.Mkdir(dir, 0o755)
}

// removeCgroup kills what is left in a host's cgroup and removes it, also
// from the named hierarchy, where nspawn makes the same path.
func removeCgroup(dir string) error {
	unified, named, err := cgroupMounts()
	if err != nil {
		return err
	}
	err = removeCgroupTree(dir)
	if path, found := strings.CutPrefix(dir, unified); found && named != "" {
		err = errors.Join(err, removeCgroupTree(filepath.Join(named, path)))
	}
	return err
}

// removeCgroupTree removes a cgroup and those below it. The kernel needs a
// moment to let go of killed processes.
func removeCgroupTree(dir string) error {
	if !exists(dir) {
		return nil
	}
	// Fails where the hierarchy has no such file: then nothing is left to kill.
	_ = os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0)
	deadline := time.Now().Add(time.Minute)
	for {
		err := removeCgroupDirs(dir)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// removeCgroupDirs removes the directories of a cgroup tree, children first.
// The files in them cannot and need not be removed.
func removeCgroupDirs(dir string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	for _, path := range slices.Backward(dirs) {
		if err == nil {
			err = os.Remove(path)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
