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

// lookTimeout is how long a look at a network namespace may take, and maxLooks how
// many run at once, those included that hang; maxLooksEach of them for one agent, or
// one user of the host's socket and the bus. The kernel answers in microseconds, but an
// agent can keep it: with the lock of /run/netns, where agents make their namespaces.
const (
	lookTimeout  = 2 * time.Second
	maxLooks     = 64
	maxLooksEach = 4
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
	err := bounded.Err(h.looks, caller.LimitKey(), func() error { return h.directory.Check(name) })
	if errors.Is(err, bounded.ErrHangs) {
		return hangs(err)
	}
	return err
}

// hangs is the error of a look that does not end.
func hangs(err error) error {
	return &interfaces.HostFailureError{Reason: "look at the network namespaces in " + netns.DefaultPath + ": " + err.Error()}
}

// Has reports whether the process is in the namespace that has this name now. Of
// a process that has ended it is an error.
func (h HostNamespaces) Has(caller Caller, name string, pid int) (bool, error) {
	return bounded.Do(h.looks, caller.LimitKey(), func() (bool, error) { return h.has(name, pid) }, nil)
}

func (h HostNamespaces) has(name string, pid int) (bool, error) {
	named, err := h.directory.Open(name)
	if err != nil {
		return false, err
	}
	defer named.Close()
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false, fmt.Errorf("process %d: %w", pid, err)
	}
	defer unix.Close(pidfd)
	its, err := netns.OfProcess(pid, pidfd)
	if err != nil {
		return false, err
	}
	defer its.Close()
	return netns.Same(its, named)
}

// OfCaller returns the name of the namespace that the caller is in, nil for the
// host's own. The kernel says which it is; the caller is not asked.
func (h HostNamespaces) OfCaller(caller Caller) (*string, error) {
	name, err := bounded.Do(h.looks, caller.LimitKey(), func() (*string, error) { return h.ofCaller(caller) }, nil)
	if errors.Is(err, bounded.ErrHangs) {
		return nil, hangs(err)
	}
	return name, err
}

func (h HostNamespaces) ofCaller(caller Caller) (*string, error) {
	file, err := namespaceOf(caller)
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

// namespaceOf opens the network namespace of the caller.
//
// A kernel without SO_PEERPIDFD (before Linux 6.5) and the bus give only the number
// that the caller had when it connected, which may be another process's by now. A
// pidfd of that number will do: whichever namespace it leads to is asked about as if
// the caller had named it, and must be one of those that the agent's file grants.
// Every caller may name any, so who wins the race for the number wins nothing.
func namespaceOf(caller Caller) (*os.File, error) {
	if caller.PIDFD >= 0 {
		return netns.OfProcess(caller.PID, caller.PIDFD)
	}
	pidfd, err := unix.PidfdOpen(caller.PID, 0)
	if err != nil {
		return nil, fmt.Errorf("the calling process %d: %w", caller.PID, err)
	}
	defer unix.Close(pidfd)
	return netns.OfProcess(caller.PID, pidfd)
}
