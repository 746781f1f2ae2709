// Package apparmor holds the AppArmor profile of sidecars, a file that make install puts
// into /etc/apparmor.d, and tells whether the kernel has it.
package apparmor

import (
	"os"
	"path/filepath"
	"strings"
)

// Profile is the name of the profile, and of its file.
const Profile = "sidecar"

// State is what a host has of AppArmor.
type State struct {
	On     bool // the kernel enforces profiles
	Loaded bool // …and has ours
}

// Host is the state of this host.
func Host() State { return stateOf("/sys") }

func stateOf(sys string) State {
	enabled, _ := os.ReadFile(filepath.Join(sys, "module/apparmor/parameters/enabled")) // not there: no AppArmor
	on := strings.TrimSpace(string(enabled)) == "Y"
	// Each profile has a directory of its name and a number (apparmorfs).
	loaded, _ := filepath.Glob(filepath.Join(sys, "kernel/security/apparmor/policy/profiles", Profile+".*"))
	return State{On: on, Loaded: on && len(loaded) > 0}
}

func (s State) String() string {
	switch {
	case s.Loaded:
		return "profile " + Profile
	case s.On:
		return "podman's own profile"
	}
	return "off"
}

// Missing says what to do about a host that enforces profiles and does not have ours. It
// is empty for all others.
func (s State) Missing() string {
	if !s.On || s.Loaded {
		return ""
	}
	return "AppArmor is on and does not have the profile " + Profile + ": sidecars get podman's own, under which reload and stop may not reach their processes; run apparmor_parser -r /etc/apparmor.d/" + Profile
}
