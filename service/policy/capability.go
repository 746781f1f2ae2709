package policy

import (
	"slices"
	"strings"
)

// knownCapabilities are those of linux/capability.h, without "CAP_".
func knownCapabilities() []string {
	return strings.Fields(`AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN
		DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN
		MAC_OVERRIDE MKNOD NET_ADMIN NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID
		SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE
		SYS_TIME SYS_TTY_CONFIG WAKE_ALARM`)
}

// hostCapabilities reach beyond the container, to the host.
func hostCapabilities() []string {
	return strings.Fields(`BPF CHECKPOINT_RESTORE DAC_READ_SEARCH LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD PERFMON
		SYSLOG SYS_ADMIN SYS_BOOT SYS_MODULE SYS_PTRACE SYS_RAWIO SYS_TIME`)
}

// userCapabilities make a payload another user than the one it runs as, or let it use
// another user's files.
func userCapabilities() []string {
	return strings.Fields(`CHOWN DAC_OVERRIDE FOWNER SETFCAP SETGID SETPCAP SETUID`)
}

func (r *report) capabilities(names []string, asRoot bool) []string {
	for i, name := range names {
		key := element("capabilities", i)
		short := strings.TrimPrefix(strings.ToUpper(name), "CAP_")
		switch {
		case slices.Contains(names[:i], name):
			r.errorf(key, "%s is there twice", name)
		case slices.Contains(hostCapabilities(), name):
			r.warnf(key, "%s reaches beyond the container, to the host", name)
		case slices.Contains(userCapabilities(), name) && !asRoot:
			r.warnf(key, "%s undoes sidecar-user: the process can act as another user, or on another user's files", name)
		case slices.Contains(knownCapabilities(), name):
		case slices.Contains(knownCapabilities(), short):
			r.errorf(key, "%q is written %s here", name, short)
		default:
			r.errorf(key, "%q is no capability%s", name, didYouMean(short, knownCapabilities()))
		}
	}
	return slices.Sorted(slices.Values(names))
}
