package launcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/gofrs/flock"
	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/netns"
)

// Variables of the unit of a network namespace that the service makes: the namespace's name,
// and the name of its pin.
const (
	SandboxVariable    = "SIDECAR_NAMESPACE"
	SandboxKeyVariable = "SIDECAR_NAMESPACE_KEY"
)

// CreateNamespace makes a network namespace whose loopback interface is up, and names it
// below /run/netns as ip-netns(8) does. No process has to stay in it: two mounts keep it, the
// one at its name, and a pin at key that only root can reach, by which DeleteNamespace
// knows it again.
func (l Launcher) CreateNamespace(name, key string) error {
	if err := errors.Join(netns.ValidName(name), netns.ValidName(key)); err != nil {
		return fmt.Errorf("network namespace %q (%q): %w", name, key, err)
	}
	pins, err := l.sandboxes().openBase()
	if err != nil {
		return err
	}
	defer pins.Close()
	dir, err := l.shareNamespaces()
	if err != nil {
		return err
	}
	defer dir.Close()
	ns, err := newNamespace()
	if err != nil {
		return fmt.Errorf("making a network namespace: %w", err)
	}
	defer ns.Close()
	lock, err := lockSandboxes(pins)
	if err != nil {
		return err
	}
	defer lock.Close()
	// A pin that exists is left from an earlier unit: there is one unit for each key.
	if err := l.deleteLeft(pins, key); err != nil {
		return err
	}
	if err := mountNamespace(ns, pins, key); err != nil {
		return err
	}
	if err := mountNamespace(ns, dir, name); err != nil {
		return errors.Join(err, unpin(pins, key))
	}
	return nil
}

// mountNamespace mounts a namespace on a new file.
func mountNamespace(ns, dir *os.File, name string) error {
	if err := touch(dir, name); err != nil {
		return err
	}
	if err := attach(ns, dir, name, 0); err != nil {
		return errors.Join(err, unpin(dir, name))
	}
	return nil
}

// DeleteNamespace removes the name and the pin of a namespace that CreateNamespace has made,
// or as much of both as exists. A namespace that somebody else has given the name stays.
// Processes in the namespace keep it until they end.
func (l Launcher) DeleteNamespace(name, key string) error {
	if err := errors.Join(netns.ValidName(name), netns.ValidName(key)); err != nil {
		return fmt.Errorf("network namespace %q (%q): %w", name, key, err)
	}
	pins, err := l.sandboxes().openBase()
	if err != nil {
		return err
	}
	defer pins.Close()
	pinned, err := os.Open(throughProc(pins) + "/" + key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it was never made
	}
	if err != nil {
		return err
	}
	defer pinned.Close()
	return errors.Join(l.deleteName(name, pinned), unpin(pins, key))
}

// sweepSandboxes deletes the namespaces that CreateNamespace has made, and whose units do not exist
// any more: DeleteNamespace was killed.
func (l Launcher) sweepSandboxes() error {
	entries, err := os.ReadDir(l.sandboxes().base())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	pins, openErr := l.sandboxes().openBase()
	if err = errors.Join(err, openErr); err != nil {
		return err
	}
	defer pins.Close()
	lock, err := lockSandboxes(pins)
	if err != nil {
		return err
	}
	defer lock.Close()
	for _, entry := range entries {
		if l.lacks(document.SandboxUnit(entry.Name())) {
			err = errors.Join(err, l.deleteLeft(pins, entry.Name()))
		}
	}
	return err
}

// lockSandboxes keeps sweepSandboxes from a pin that CreateNamespace makes. The caller closes the lock.
func lockSandboxes(pins *os.File) (*flock.Flock, error) {
	ctx, cancel := context.WithTimeout(context.Background(), RemoveLimit)
	defer cancel()
	lock := flock.New(throughProc(pins), flock.SetFlag(os.O_RDONLY))
	if _, err := lock.TryLockContext(ctx, lockPause); err != nil {
		return nil, errors.Join(fmt.Errorf("waiting for the lock of %s: %w", pins.Name(), err), lock.Close())
	}
	return lock, nil
}

// deleteLeft removes the pin at key, if it exists, and the name that the namespace was made with.
func (l Launcher) deleteLeft(pins *os.File, key string) error {
	pinned, err := os.Open(throughProc(pins) + "/" + key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer pinned.Close()
	agent, _, _ := strings.Cut(key, ".")
	made := func(name string) bool { return document.SandboxKey(agent, name) == key }
	name, err := l.Namespaces.NameOf(pinned, made)
	if err == nil && made(name) {
		err = l.deleteName(name, pinned)
	}
	if err != nil {
		return err
	}
	return unpin(pins, key)
}

// deleteName removes the name of the namespace, if it is the name of this one.
func (l Launcher) deleteName(name string, pinned *os.File) error {
	named, err := l.Namespaces.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("network namespace %q: %w", name, err)
	}
	defer named.Close()
	same, err := netns.Same(named, pinned)
	if err != nil {
		return err
	}
	if !same {
		return fmt.Errorf("network namespace %q: another one has the name by now, and stays", name)
	}
	dir, err := l.Namespaces.OpenDirectory()
	if err != nil {
		return err
	}
	defer dir.Close()
	return unpin(dir, name)
}

func (l Launcher) sandboxes() Launcher {
	l.Base = filepath.Join(filepath.Dir(l.base()), "namespaces")
	return l
}

// shareNamespaces opens the directory of named network namespaces, and first makes it a shared
// mount, as ip-netns(8) does: otherwise agents would not see what is mounted there.
func (l Launcher) shareNamespaces() (*os.File, error) {
	path := l.Namespaces.Directory()
	if err := os.Mkdir(path, 0o755); err != nil && !os.IsExist(err) {
		return nil, err
	}
	share := func() error { return unix.Mount("", path, "none", unix.MS_SHARED|unix.MS_REC, "") }
	err := share()
	if err == unix.EINVAL { // it is not a mount point yet
		if err = unix.Mount(path, path, "none", unix.MS_BIND|unix.MS_REC, ""); err == nil {
			err = share()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("sharing %s: %w", path, err)
	}
	return l.Namespaces.OpenDirectory()
}

// newNamespace opens a new network namespace.
func newNamespace() (*os.File, error) {
	var file *os.File
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for ever: the thread ends with the goroutine
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			err = loopbackUp()
		}
		if err == nil {
			file, err = os.Open("/proc/thread-self/ns/net")
		}
	}()
	<-done
	return file, err
}

// loopbackUp sets the loopback interface of the thread's network namespace up (netdevice(7)).
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, lo)
	}
	if err != nil {
		return err
	}
	lo.SetUint16(lo.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}
