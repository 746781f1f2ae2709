//go:build testhost

package test

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

const netnsDirectory = "/run/netns/"

// fakeNamespaces puts things below /run/netns that pass for a namespace by their
// names. They are gone when the test ends.
func fakeNamespaces(t *testing.T) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	remove := func(name string) {
		t.Cleanup(func() {
			_ = unix.Unmount(netnsDirectory+name, unix.MNT_DETACH)
			_ = os.RemoveAll(netnsDirectory + name)
		})
	}
	for _, name := range []string{"t-file", "t-uts", "t-host", "t-fifo", "t-dir", "t-link", "t-link-host", "t-link-forbidden"} {
		remove(name)
	}
	for _, name := range []string{"t-file", "t-uts", "t-host"} {
		must(os.WriteFile(netnsDirectory+name, nil, 0o600))
	}
	must(unix.Mkfifo(netnsDirectory+"t-fifo", 0o600))
	must(os.Mkdir(netnsDirectory+"t-dir", 0o700))
	must(os.Symlink("t-real", netnsDirectory+"t-link"))
	must(os.Symlink("/proc/1/ns/net", netnsDirectory+"t-link-host"))
	must(os.Symlink("forbidden", netnsDirectory+"t-link-forbidden"))
	must(unix.Mount("/proc/1/ns/uts", netnsDirectory+"t-uts", "", unix.MS_BIND, ""))
	must(unix.Mount("/proc/1/ns/net", netnsDirectory+"t-host", "", unix.MS_BIND, ""))
}

func TestNetnsAttacksAreRefused(t *testing.T) {
	begin(t)
	namespace(t, "t-real")
	namespace(t, "forbidden")
	fakeNamespaces(t)
	for name, want := range map[string]error{
		"":                             interfaces.ErrInvalidParameter,
		".":                            interfaces.ErrInvalidParameter,
		"..":                           interfaces.ErrInvalidParameter,
		"t-x/../t-real":                interfaces.ErrInvalidParameter,
		"../netns/t-real":              interfaces.ErrInvalidParameter,
		netnsDirectory + "t-real":      interfaces.ErrInvalidParameter,
		"t-real\x00":                   interfaces.ErrInvalidParameter,
		"t-real\n":                     interfaces.ErrInvalidParameter,
		"t-real,type=bind,source=/":    interfaces.ErrInvalidParameter,
		"t-" + string(make([]byte, 1)): interfaces.ErrInvalidParameter,
		"forbidden":                    interfaces.ErrNamespaceNotAllowed,
		"there-is-none":                interfaces.ErrNamespaceNotAllowed,
		"t-missing":                    interfaces.ErrNoSuchNetworkNamespace,
		"t-link":                       interfaces.ErrNoSuchNetworkNamespace,
		"t-link-host":                  interfaces.ErrNoSuchNetworkNamespace,
		"t-link-forbidden":             interfaces.ErrNoSuchNetworkNamespace,
		"t-file":                       interfaces.ErrNoSuchNetworkNamespace,
		"t-fifo":                       interfaces.ErrNoSuchNetworkNamespace,
		"t-dir":                        interfaces.ErrNoSuchNetworkNamespace,
		"t-uts":                        interfaces.ErrNoSuchNetworkNamespace,
		"t-host":                       interfaces.ErrNoSuchNetworkNamespace,
	} {
		began := time.Now()
		p := probe(t, name)
		if s, err := as(t, tester).Launch(minute(t), p); !errors.Is(err, want) {
			t.Errorf("%q: %v, %v; want %v", name, s, err, want)
		}
		if _, err := as(t, tester).Explain(minute(t), p); !errors.Is(err, want) {
			t.Errorf("%q explained: %v; want %v", name, err, want)
		}
		if took := time.Since(began); took > slowness*5*time.Second {
			t.Errorf("%q: the answer took %v", name, took)
		}
	}
	if err := checkClean(); err != nil {
		t.Errorf("something was started: %v", err)
	}
	start(t, tester, probe(t, "t-real"))
}

// A name that means an allowed namespace when it is checked may mean another one
// when it is used. Here it changes all the time.
func TestNetnsSwapBetweenCheckAndUse(t *testing.T) {
	begin(t)
	namespace(t, "forbidden")
	const path = netnsDirectory + "t-swap"
	for name, swap := range map[string]func(held string) error{
		"the host's namespace mounted over it": func(string) error {
			err := unix.Mount("/proc/1/ns/net", path, "", unix.MS_BIND, "")
			time.Sleep(time.Millisecond)
			err = errors.Join(err, unix.Unmount(path, unix.MNT_DETACH))
			time.Sleep(time.Millisecond)
			return err
		},
		"a link to another agent's in its place": func(held string) error {
			err := errors.Join(unix.Unmount(path, unix.MNT_DETACH), os.Remove(path), os.Symlink("forbidden", path))
			time.Sleep(time.Millisecond)
			err = errors.Join(err, os.Remove(path), os.WriteFile(path, nil, 0o600), unix.Mount(held, path, "", unix.MS_BIND, ""))
			time.Sleep(time.Millisecond)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) { launchWhileSwapping(t, swap) })
	}
}

// launchWhileSwapping launches in a namespace whose name comes and goes.
func launchWhileSwapping(t *testing.T, swap func(held string) error) {
	namespace(t, "t-swap")
	want := netnsOf(t, "t-swap")
	// The namespace must be mounted somewhere to be mounted again.
	held := t.TempDir() + "/held"
	if err := errors.Join(os.WriteFile(held, nil, 0o600), unix.Mount(netnsDirectory+"t-swap", held, "", unix.MS_BIND, "")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(held, unix.MNT_DETACH) })
	p := probe(t, "t-swap")
	stopAtEnd(t, tester, interfaces.NewID(tester, "probe", pidFileOf(p.Arguments)).String())
	rounds := swapping(t, func() {
		if err := swap(held); err != nil {
			t.Error(err)
		}
	})
	good, launches := 0, 0
	// On a busy machine the name may mean something else at every look of a launch that is
	// refused within milliseconds: go on until some get through.
	for end := time.Now().Add(slowness * 10 * time.Second); launches < 40 || good < 3 && time.Now().Before(end); launches++ {
		s, err := as(t, tester).Launch(minute(t), p)
		switch {
		case err == nil:
			good++
			if got := namespaceOf(t, int(*s.Runtime.ProcessID), "net"); got != want {
				t.Errorf("it runs in %s, the agent's namespace is %s", got, want)
			}
		case !errors.Is(err, interfaces.ErrNoSuchNetworkNamespace) && !errors.Is(err, interfaces.ErrLaunchFailed):
			t.Errorf("it fails with %v", err)
		}
	}
	t.Logf("%d rounds; %d launches, %d of them in the agent's namespace, the others refused", rounds(), launches, good)
	if good == 0 {
		t.Error("no launch has succeeded: nothing was tried")
	}
}

// swapping does something again and again until the test ends. The function that
// it returns says how often it was done.
func swapping(t *testing.T, do func()) func() int {
	t.Helper()
	var rounds atomic.Int64
	done := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				do()
				rounds.Add(1)
			}
		}
	})
	t.Cleanup(func() { close(done); wait.Wait() })
	return func() int { return int(rounds.Load()) }
}

// sameFile reports whether two paths lead to the same file.
func sameFile(a, b string) bool {
	var x, y syscall.Stat_t
	return syscall.Stat(a, &x) == nil && syscall.Stat(b, &y) == nil && x.Dev == y.Dev && x.Ino == y.Ino
}
