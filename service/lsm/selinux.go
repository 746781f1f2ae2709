package lsm

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Module is where make install puts the SELinux policy module.
const Module = "/usr/share/selinux/packages/sidecar.cil"

// PayloadType is the type that the module has for the processes of payloads.
const PayloadType = "sidecar_payload_t"

// daemonType is the type that the module gives to the daemon's program.
const daemonType = "sidecard_exec_t"

// SELinux is what a host has of SELinux.
type SELinux struct {
	On        bool // the kernel has a policy
	Enforcing bool // …and refuses what it does not allow
	Labelled  bool // …and the daemon's program has the type of our module
}

func selinuxOf(root string) SELinux {
	enforce, err := os.ReadFile(filepath.Join(root, "sys/fs/selinux/enforce"))
	if err != nil {
		return SELinux{}
	}
	label := make([]byte, 256)
	// For a label that the policy does not know the kernel says another one.
	n, _ := unix.Getxattr(filepath.Join(root, "usr/libexec/sidecar/sidecard"), "security.selinux", label)
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

// Missing says what to do about a host that has SELinux and not our module. It is empty
// for all others.
func (s SELinux) Missing() string {
	if !s.On || s.Labelled {
		return ""
	}
	return "SELinux is on, and the daemon's program does not have the type " + daemonType + ": the service runs in a domain that is not its own; run semodule -i " + Module + " and restorecon -R /usr/libexec/sidecar /etc/sidecar /run/sidecar, then restart sidecard"
}
