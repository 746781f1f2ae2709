package service

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/bounded"
	"tripleo.io/sidecar/service/netns"
	"tripleo.io/sidecar/service/policy"
)

// Bounds of calls that look at network namespaces. The kernel answers in microseconds, but an
// agent can make such a call hang, by the lock of /run/netns, where agents make their namespaces.
const (
	lookTimeout  = 2 * time.Second
	maxLooks     = 64 // at once, those that hang included
	maxLooksEach = 4  // …for one agent, or one user of the host's socket and the bus
)

// HostNamespaces are the network namespaces of this host. Use NewHostNamespaces.
type HostNamespaces struct {
	directory netns.Directory // where they have names
	looks     *bounded.Calls
}

// NewHostNamespaces returns the namespaces that have names in /run/netns.
func NewHostNamespaces() HostNamespaces { return namespacesIn(netns.Directory{}) }

func namespacesIn(directory netns.Directory) HostNamespaces {
	return HostNamespaces{directory, bounded.New(lookTimeout, maxLooksEach, maxLooks)}
}

// Check says what is wrong with the namespace of this name, if anything is.
// sidecar-launch looks again when it opens it: this is for an early answer.
func (h HostNamespaces) Check(caller Caller, name string) error {
	return lookFailure(bounded.Err(h.looks, caller.LimitKey(), func() error { return h.directory.Check(name) }))
}

// lookFailure makes a host failure of the error of a look that hangs.
func lookFailure(err error) error {
	if errors.Is(err, bounded.ErrHangs) {
		return &interfaces.HostFailureError{Reason: "look at the network namespaces in " + netns.DefaultPath + ": " + err.Error()}
	}
	return err
}

// Has reports whether the process is in the namespace that has this name now. A
// process that has ended is an error.
func (h HostNamespaces) Has(caller Caller, name string, pid int) (bool, error) {
	return bounded.Do(h.looks, caller.LimitKey(), func() (bool, error) { return h.has(name, pid) }, nil)
}

func (h HostNamespaces) has(name string, pid int) (bool, error) {
	named, err := h.directory.Open(name)
	if err != nil {
		return false, err
	}
	defer named.Close()
	actual, err := namespaceOf(pid, -1)
	if err != nil {
		return false, err
	}
	defer actual.Close()
	return netns.Same(actual, named)
}

// OfCaller returns the name of the namespace that the caller is in, nil for the
// host's own. The kernel says which one it is, not the caller.
func (h HostNamespaces) OfCaller(caller Caller) (*string, error) {
	name, err := bounded.Do(h.looks, caller.LimitKey(), func() (*string, error) { return h.ofCaller(caller) }, nil)
	return name, lookFailure(err)
}

func (h HostNamespaces) ofCaller(caller Caller) (*string, error) {
	file, err := namespaceOf(caller.PID, caller.PIDFD)
	if err != nil {
		return nil, &interfaces.NoSuchNetworkNamespaceError{Reason: err.Error()}
	}
	defer file.Close()
	host, err := h.directory.IsHost(file)
	if err != nil {
		return nil, &interfaces.HostFailureError{Reason: "compare network namespaces: " + err.Error()}
	}
	if host {
		return nil, nil
	}
	name, err := h.directory.NameOf(file, policy.ValidNamespace)
	if err != nil {
		return nil, &interfaces.HostFailureError{Reason: "look for the namespace's name: " + err.Error()}
	}
	if name == "" {
		return nil, &interfaces.NoSuchNetworkNamespaceError{Reason: "it has no name below " + netns.DefaultPath + "; name one in networkNamespace"}
	}
	return &name, nil
}

// namespaceOf opens the network namespace of a process. pidfd is -1 if it is not known.
//
// A kernel without SO_PEERPIDFD (before Linux 6.5) and the bus give only the process ID
// that the caller had when it connected, which may be another process's now. A pidfd of that
// ID is enough: every caller may name any namespace, and the one that is found here is checked
// like a named one, so a caller that wins the race for the ID gains nothing.
func namespaceOf(pid, pidfd int) (*os.File, error) {
	if pidfd >= 0 {
		return netns.OfProcess(pid, pidfd)
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	defer unix.Close(pidfd)
	return netns.OfProcess(pid, pidfd)
}
