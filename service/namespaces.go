package service

import (
	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/netns"
)

// HostNamespaces are the network namespaces of this host.
type HostNamespaces struct {
	Directory netns.Directory // where they have names; the zero value is /run/netns
}

// Check says what is wrong with the namespace of this name, if anything is.
// sidecar-launch looks again when it opens it: this is for an early answer.
func (h HostNamespaces) Check(name string) error { return h.Directory.Check(name) }

// OfCaller returns the name of the namespace that the caller is in, nil for the
// host's own. The kernel says which it is; the caller is not asked.
func (h HostNamespaces) OfCaller(caller Caller) (*string, error) {
	file, err := netns.OfProcess(caller.PID, caller.PIDFD)
	if err != nil {
		return nil, &interfaces.NoSuchNetworkNamespaceError{Reason: err.Error()}
	}
	defer file.Close()
	host, err := netns.IsHost(file)
	if err != nil {
		return nil, &interfaces.HostFailureError{Reason: "compare network namespaces: " + err.Error()}
	}
	if host {
		return nil, nil
	}
	name, ok, err := h.Directory.NameOf(file)
	if err != nil {
		return nil, &interfaces.HostFailureError{Reason: "look for the namespace's name: " + err.Error()}
	}
	if !ok {
		return nil, &interfaces.NoSuchNetworkNamespaceError{Reason: "it has no name below " + netns.DefaultPath + "; name one in networkNamespace"}
	}
	return &name, nil
}
