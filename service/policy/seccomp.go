package policy

// Values of a profile's seccomp key that are not the path of a file.
const (
	SeccompDefault   = "default"   // the container engine's own filter
	SeccompNetfilter = "netfilter" // the service's, with sockets of NETLINK_NETFILTER
)

// seccomp checks which filter of system calls a profile asks for. There is no
// value for no filter at all.
func (r *report) seccomp(value *string) string {
	const key = "seccomp"
	if value == nil {
		return ""
	}
	reason := checkPath(*value)
	switch {
	case *value == SeccompNetfilter:
	case *value == SeccompDefault:
		r.warnf(key, "the engine's own filter lets through much that no side process needs, such as new user namespaces, keyrings and AF_VSOCK")
	case reason != "":
		r.errorf(key, "%q is neither %q nor %q nor the path of a file: %s", *value, SeccompNetfilter, SeccompDefault, reason)
	default:
		r.warnf(key, "%s takes the place of the service's filter, and may let through more", *value)
	}
	return *value
}

// seccompFile refuses a filter that the agent could write itself, because it lies
// in one of the agent's own directories.
func (r *report) seccompFile(a *Agent, p *Profile) {
	for _, dir := range a.StateDirectories {
		if _, inside := beneath(dir, p.Seccomp); inside {
			r.errorf("state-directories", "the seccomp file %s of profile %s lies in %s: move it to a directory that only root may write", p.Seccomp, p.Name, dir)
		}
	}
}
