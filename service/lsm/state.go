// Package lsm holds sidecar's AppArmor profile and SELinux policy module, tells whether
// a host has loaded them, and reads the kernel's denials.
package lsm

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/internal/paths"
)

const (
	// Profile is the name of the AppArmor profile of sidecars and of its file in
	// /etc/apparmor.d, which has the daemon's, too.
	Profile = "sidecar"
	// daemonProfile is the name of the AppArmor profile of the daemon.
	daemonProfile = "sidecard"
	// PayloadType is the module's type for the processes of payloads.
	PayloadType = "sidecar_payload_t"
	// daemonType is the module's type for the daemon's program.
	daemonType = "sidecard_exec_t"
)

// State is the state of a host's security modules.
type State struct {
	AppArmor AppArmor
	SELinux  SELinux
}

// Host returns the state of this host.
func Host() State {
	return State{AppArmor: apparmorOf("/sys"), SELinux: selinuxOf("/")}
}

// Missing says what the administrator still has to do.
func (s State) Missing() []string {
	missing := []string{s.AppArmor.Missing(), s.SELinux.Missing()}
	return slices.DeleteFunc(missing, func(text string) bool { return text == "" })
}

// AppArmor is the state of AppArmor on a host.
type AppArmor struct {
	On        bool // the kernel enforces profiles
	Loaded    bool // …and has the profile of sidecars
	Daemon    bool // …and the daemon's
	Complains bool // …and one of them refuses nothing (complain mode)
	// Unknown means that the state cannot be read. A launch then asks for the profile, and
	// fails if it is not loaded, so that no payload runs without it by mistake.
	Unknown bool
}

// Wanted reports whether a container gets sidecar's profile. podman does not start a
// container with a profile that is not loaded.
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
	// Each profile has a directory NAME.NUMBER (apparmorfs).
	profiles := filepath.Join(sys, "kernel/security/apparmor/policy/profiles")
	entries, err := os.ReadDir(profiles)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return AppArmor{On: true, Unknown: true}
	}
	state := AppArmor{On: true}
	for _, entry := range entries {
		profile, _, _ := strings.Cut(entry.Name(), ".")
		if profile != Profile && profile != daemonProfile {
			continue
		}
		name, err := os.ReadFile(filepath.Join(profiles, entry.Name(), "name"))
		if errors.Is(err, fs.ErrNotExist) {
			continue // the profile has just been replaced
		}
		if err != nil {
			return AppArmor{On: true, Unknown: true}
		}
		if strings.TrimSpace(string(name)) != profile {
			continue
		}
		mode, _ := os.ReadFile(filepath.Join(profiles, entry.Name(), "mode"))
		state.Complains = state.Complains || strings.TrimSpace(string(mode)) == "complain"
		state.Loaded = state.Loaded || profile == Profile
		state.Daemon = state.Daemon || profile == daemonProfile
	}
	return state
}

func (s AppArmor) String() string {
	text := "off"
	switch {
	case s.Unknown:
		return "cannot be read"
	case s.Loaded && s.Daemon:
		text = "profiles " + Profile + " and " + daemonProfile
	case s.Loaded:
		text = "profile " + Profile
	case s.On:
		text = "podman's own profile"
	}
	if s.Complains {
		text += ", in complain mode"
	}
	return text
}

// Missing says what to do if AppArmor is on and one of sidecar's profiles confines nothing,
// otherwise "".
func (s AppArmor) Missing() string {
	const file = "/etc/apparmor.d/" + Profile
	switch {
	case !s.On || s.Unknown:
		return ""
	case !s.Loaded:
		return "AppArmor is on and does not have the profile " + Profile + ": sidecars get podman's own, under which reload and stop may not reach their processes; run apparmor_parser -r " + file + ", then restart sidecard"
	case !s.Daemon:
		return "AppArmor does not have the profile " + daemonProfile + ": the service itself is not confined; run apparmor_parser -r " + file + ", then restart sidecard"
	case s.Complains:
		return "an AppArmor profile of " + file + " is in complain mode and refuses nothing; run aa-enforce " + file
	}
	return ""
}

// SELinux is the state of SELinux on a host.
type SELinux struct {
	On        bool // the kernel has a policy
	Enforcing bool // …and enforces it
	Labelled  bool // …and the daemon's program has its type of sidecar's module
}

func selinuxOf(root string) SELinux {
	enforce, err := os.ReadFile(filepath.Join(root, "sys/fs/selinux/enforce"))
	if err != nil {
		return SELinux{}
	}
	label := make([]byte, 256)
	// The kernel returns another label for one that the policy does not know.
	n, _ := unix.Getxattr(filepath.Join(root, paths.Daemon), "security.selinux", label)
	return SELinux{
		On:        true,
		Enforcing: strings.TrimSpace(string(enforce)) == "1",
		Labelled:  strings.Contains(string(label[:max(n, 0)]), ":"+daemonType+":"),
	}
}

func (s SELinux) String() string {
	if !s.On {
		return "off"
	}
	text := "permissive"
	if s.Enforcing {
		text = "enforcing"
	}
	if s.Labelled {
		return text + ", with the policy module sidecar"
	}
	return text + ", without the policy module sidecar"
}

// Missing says what to do if SELinux is on without sidecar's module, otherwise "".
func (s SELinux) Missing() string {
	if !s.On || s.Labelled {
		return ""
	}
	return "SELinux is on, and the daemon's program does not have the type " + daemonType + ": the service does not run in its own domain; run semodule -i " + paths.SELinuxModule + " and restorecon -R " + paths.Libexec + " " + paths.Host + " /run/sidecar /var/lib/sidecar, then restart sidecard"
}
