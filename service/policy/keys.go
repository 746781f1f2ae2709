package policy

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/document"
)

// text checks a required line of text.
func (r *report) text(key, s string) string {
	if s == "" {
		r.errorf(key, "is missing")
	} else if reason := checkText(s); reason != "" {
		r.errorf(key, "%s", reason)
	}
	return s
}

func (r *report) image(key, s string) string {
	if r.text(key, s) != "" && (!isAlphanumeric(s[0]) || !isAll(s, isNameByte.or("/:@+"))) {
		r.errorf(key, "%q is not an image reference such as localhost/neutron-sidecars:1", s)
	}
	return s
}

// runtimes checks the OCI runtimes that a profile prefers.
func (r *report) runtimes(names []string, required bool, engine *string) []string {
	if required && len(names) == 0 {
		r.errorf("runtime-required", `needs runtime, the OCI runtimes of which the host must have one, such as runtime = ["runsc"]`)
	}
	for i, name := range names {
		key := element("runtime", i)
		switch {
		case slices.Contains(names[:i], name):
			r.errorf(key, "%s is listed twice", name)
		case strings.HasPrefix(name, "/") && checkPath(name) != "":
			r.errorf(key, "the path %q: %s", name, checkPath(name))
		case !strings.HasPrefix(name, "/") && (name == "" || !isAlphanumeric(name[0]) || len(name) > maxComponent || !isAll(name, isNameByte)):
			r.errorf(key, "%q is neither the name of an OCI runtime, such as crun, nor its absolute path", name)
		case engine != nil && *engine == interfaces.EngineRuntime && document.OwnGroupOption(name) == "":
			r.errorf(key, "%q makes a control group outside the unit; engine = \"runtime\" takes crun, krun and runsc", name)
		}
	}
	return names
}

func (r *report) command(words []string) []string {
	if len(words) == 0 {
		r.errorf("command", "is missing: the program's path in the image, and fixed arguments")
		return nil
	}
	if reason := checkPath(words[0]); reason != "" {
		r.errorf("command", "the program's path %q: %s", words[0], reason)
	}
	for i, word := range words {
		if reason := checkText(word); reason != "" {
			r.errorf(element("command", i), "%s", reason)
		}
	}
	return words
}

// choice returns the first of the choices if the key is not given.
func (r *report) choice(key string, s *string, choices ...string) string {
	if s == nil {
		return choices[0]
	}
	if !slices.Contains(choices, *s) {
		r.errorf(key, "%q is not one of %s%s", *s, strings.Join(choices, ", "), didYouMean(*s, choices))
	}
	return *s
}

func (r *report) number(key string, n *int64, least, most int64) int64 {
	if n == nil {
		return 0
	}
	if *n < least || *n > most {
		r.errorf(key, "%d is not between %d and %d", *n, least, most)
	}
	return *n
}

func (r *report) memory(key string, s *string) uint64 {
	const least = 1 << 20
	if s == nil {
		return 0
	}
	size, ok := parseSize(*s)
	switch {
	case !ok:
		r.errorf(key, `%q is not a size such as "64M" (K, M, G, T)`, *s)
	case size < least:
		r.errorf(key, "%q is less than 1M", *s)
	}
	return size
}

// parseSize reads a size as systemd writes it: a number of bytes, or of K, M, G
// or T, each 1024 times the one before (systemd.resource-control(5)).
func parseSize(s string) (uint64, bool) {
	const units = "KMGT"
	number := strings.TrimRight(s, units)
	if len(s)-len(number) > 1 || !isAll(number, isDigit) {
		return 0, false
	}
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return 0, false
	}
	shift := 0
	if number != s {
		shift = 10 * (1 + strings.IndexByte(units, s[len(s)-1]))
	}
	return n << shift, n <= math.MaxUint64>>shift
}

// environment checks the variables of a profile's processes.
func (r *report) environment(assignments []string) []string {
	serviceVariables := []string{"PROCESS_TAG", "SIDECAR_COMMAND"}
	var names []string
	for i, assignment := range assignments {
		key := element("environment", i)
		name, value, ok := strings.Cut(assignment, "=")
		switch reason := checkText(value); {
		case !ok || !isVariable(name):
			r.errorf(key, "%q is not NAME=value with a NAME of A-Z, 0-9 and '_' that does not begin with a digit", assignment)
		case reason != "":
			r.errorf(key, "%s", reason)
		case slices.Contains(serviceVariables, name):
			r.errorf(key, "%s is set by the service", name)
		case slices.Contains(names, name):
			r.errorf(key, "%s is listed twice", name)
		}
		names = append(names, name)
	}
	return assignments
}

func isVariable(name string) bool {
	isVariableByte := func(c byte) bool { return isDigit(c) || 'A' <= c && c <= 'Z' || c == '_' }
	return name != "" && !isDigit(name[0]) && isAll(name, isVariableByte)
}

var (
	// knownCapabilities are the capabilities of linux/capability.h, without "CAP_".
	knownCapabilities = strings.Fields(`AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN
		DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN
		MAC_OVERRIDE MKNOD NET_ADMIN NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID
		SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE
		SYS_TIME SYS_TTY_CONFIG WAKE_ALARM`)

	// hostCapabilities reach beyond the container, to the host.
	hostCapabilities = strings.Fields(`BPF CHECKPOINT_RESTORE DAC_READ_SEARCH LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD
		PERFMON SYSLOG SYS_ADMIN SYS_BOOT SYS_MODULE SYS_PTRACE SYS_RAWIO SYS_TIME`)

	// userCapabilities let a payload become another user, or use another user's files.
	userCapabilities = strings.Fields(`CHOWN DAC_OVERRIDE FOWNER SETFCAP SETGID SETPCAP SETUID`)
)

func (r *report) capabilities(names []string, asRoot bool) []string {
	for i, name := range names {
		key := element("capabilities", i)
		short := strings.TrimPrefix(strings.ToUpper(name), "CAP_")
		switch {
		case slices.Contains(names[:i], name):
			r.errorf(key, "%s is listed twice", name)
		case slices.Contains(hostCapabilities, name):
			r.warnf(key, "%s reaches beyond the container, to the host", name)
		case slices.Contains(userCapabilities, name) && !asRoot:
			r.warnf(key, "%s undoes sidecar-user: the process can act as another user, or on another user's files", name)
		case slices.Contains(knownCapabilities, name):
		case slices.Contains(knownCapabilities, short):
			r.errorf(key, "%q is written %s here", name, short)
		default:
			r.errorf(key, "%q is not a capability%s", name, didYouMean(short, knownCapabilities))
		}
	}
	return slices.Sorted(slices.Values(names))
}

// Values of a profile's seccomp key that are not the path of a file.
const (
	SeccompDefault   = "default"   // the container engine's own filter
	SeccompNetfilter = "netfilter" // the service's, with sockets of NETLINK_NETFILTER
)

// seccomp checks which filter of system calls a profile asks for. No value turns
// filtering off.
func (r *report) seccomp(value *string) string {
	const key = "seccomp"
	if value == nil {
		return ""
	}
	reason := checkPath(*value)
	switch {
	case *value == SeccompNetfilter:
	case *value == SeccompDefault:
		r.warnf(key, "the engine's own filter allows much that no side process needs, such as new user namespaces, keyrings and AF_VSOCK")
	case reason != "":
		r.errorf(key, "%q is neither %q nor %q nor the path of a file: %s", *value, SeccompNetfilter, SeccompDefault, reason)
	default:
		r.warnf(key, "%s replaces the service's filter, and may allow more", *value)
	}
	return *value
}
