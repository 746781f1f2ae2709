// Package lsm holds what sidecar brings for the kernel's security modules, an AppArmor
// profile and an SELinux policy module, and tells what a host has of both.
package lsm

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Profile is the name of the AppArmor profile of sidecars, and of its file, which make
// install puts into /etc/apparmor.d.
const Profile = "sidecar"

// State is what a host has of security modules.
type State struct {
	AppArmor AppArmor
	SELinux  SELinux
}

// Host is the state of this host.
func Host() State {
	return State{AppArmor: apparmorOf("/sys"), SELinux: selinuxOf("/")}
}

// Missing says what an administrator has still to do, if anything.
func (s State) Missing() []string {
	var missing []string
	for _, text := range []string{s.AppArmor.Missing(), s.SELinux.Missing()} {
		if text != "" {
			missing = append(missing, text)
		}
	}
	return missing
}

// AppArmor is what a host has of AppArmor.
type AppArmor struct {
	On        bool // the kernel enforces profiles
	Loaded    bool // …and has ours
	Complains bool // …which refuses nothing (complain mode)
	// Unknown means that it cannot be read. A launch then asks for the profile: podman
	// fails if it is not loaded, and no payload goes without it by mistake.
	Unknown bool
}

// Wanted reports whether a container is to have our profile. podman does not start with
// one that is not loaded.
func (s AppArmor) Wanted() bool { return s.Loaded || s.Unknown }

func apparmorOf(sys string) AppArmor {
	enabled, err := os.ReadFile(filepath.Join(sys, "module/apparmor/parameters/enabled"))
	if errors.Is(err, fs.ErrNotExist) {
		return AppArmor{}
	}
	if err != nil {
		return AppArmor{Unknown: true}
	}
	if strings.TrimSpace(string(enabled)) != "Y" {
		return AppArmor{}
	}
	// Each profile has a directory of its name and a number, with files (apparmorfs).
	profiles := filepath.Join(sys, "kernel/security/apparmor/policy/profiles")
	entries, err := os.ReadDir(profiles)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return AppArmor{On: true, Unknown: true}
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), Profile+".") {
			continue
		}
		name, err := os.ReadFile(filepath.Join(profiles, entry.Name(), "name"))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has just been replaced
		}
		if err != nil {
			return AppArmor{On: true, Unknown: true}
		}
		if strings.TrimSpace(string(name)) == Profile {
			mode, _ := os.ReadFile(filepath.Join(profiles, entry.Name(), "mode"))
			return AppArmor{On: true, Loaded: true, Complains: strings.TrimSpace(string(mode)) == "complain"}
		}
	}
	return AppArmor{On: true}
}

func (s AppArmor) String() string {
	switch {
	case s.Unknown:
		return "cannot be read"
	case s.Complains:
		return "profile " + Profile + ", in complain mode"
	case s.Loaded:
		return "profile " + Profile
	case s.On:
		return "podman's own profile"
	}
	return "off"
}

// Missing says what to do about a host on which our profile holds nobody, though AppArmor
// is on. It is empty for all others.
func (s AppArmor) Missing() string {
	switch {
	case s.Complains:
		return "AppArmor's profile " + Profile + " is in complain mode and refuses nothing; run aa-enforce " + Profile
	case s.On && !s.Loaded && !s.Unknown:
		return "AppArmor is on and does not have the profile " + Profile + ": sidecars get podman's own, under which reload and stop may not reach their processes; run apparmor_parser -r /etc/apparmor.d/" + Profile
	}
	return ""
}
