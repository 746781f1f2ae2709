// Package paths names the directories in which a host has sidecar. make build sets them
// (PREFIX, LIBEXECDIR, DATADIR, SYSCONFDIR), and make install changes the unit files, manual
// pages and policies accordingly.
//
// Out of scope: /run/sidecar and /var/lib/sidecar, which systemd makes for the service
// (RuntimeDirectory=, StateDirectory=), and the paths in an agent's image.
package paths

import "path/filepath"

// The linker sets them, so each is a literal.
var (
	libexec = "/usr/libexec"
	data    = "/usr/share"
	etc     = "/etc"
)

var (
	// Daemon is sidecard.
	Daemon = filepath.Join(Libexec, "sidecard")
	// Launcher is sidecar-launch, which runs in every unit.
	Launcher = filepath.Join(Libexec, "sidecar-launch")
	// Seccomp is podman's list of system calls that sidecars may make.
	Seccomp = filepath.Join(Vendor, "seccomp.json")
	// SELinuxModule is the policy module.
	SELinuxModule = filepath.Join(data, "selinux/packages/sidecar.cil")

	// Libexec has the programs that are not for users.
	Libexec = filepath.Join(libexec, "sidecar")
	// Vendor has the policy files of the distribution.
	Vendor = filepath.Join(data, "sidecar")
	// Host has the policy files of the administrator, which win by file name.
	Host = filepath.Join(etc, "sidecar")
)
