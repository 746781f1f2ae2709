//go:build testhost

package test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

// kinds of file systems that do not answer: nobody reads the requests, or somebody does
// and keeps quiet, which keeps even SIGKILL away.
var muteKinds = map[string]bool{"deaf": false, "attentive": true}

// othersWork holds the service to serve agents that have nothing to do with what hangs.
func othersWork(t *testing.T) {
	t.Helper()
	p := probe(t, "")
	p.NetworkNamespace = nil
	s, err := as(t, onHost).Launch(minute(t), p)
	if err != nil {
		t.Errorf("a launch on the host's network: %v", err)
		return
	}
	if _, err := as(t, onHost).Stop(minute(t), interfaces.StopParameters{ID: s.ID}); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// TestHardeningHangRunNetns mounts a file system that does not answer over /run/netns
// itself. Launches in namespaces are refused at once, with what to do; others work, a
// reload does, and everything when it has gone.
func TestHardeningHangRunNetns(t *testing.T) {
	begin(t)
	namespace(t, "t-below")
	p := probe(t, "t-below")
	for kind, attentive := range muteKinds {
		end := muteOver(t, strings.TrimSuffix(netnsDirectory, "/"), unix.S_IFDIR, attentive)
		err := refused(t, tester, p, interfaces.ErrNoSuchNetworkNamespace)
		if !strings.Contains(err.Error(), "umount /run/netns") {
			t.Errorf("%s: the error does not say what to do: %v", kind, err)
		}
		othersWork(t)
		reload(t)
		end()
	}
	start(t, tester, p)
}

// TestHardeningHangSocketDirectory mounts a file system that does not answer over an
// agent's socket directory. A reload does not wait for it, also when that agent goes or
// comes, others are served, and the agent is when it has gone.
func TestHardeningHangSocketDirectory(t *testing.T) {
	begin(t)
	directory := filepath.Dir(socketOf(limited))
	t.Cleanup(func() {
		if err := writePolicy("agents.d", limited, agentFiles[limited]); err != nil {
			t.Error(err)
		}
		reload(t)
	})
	for _, attentive := range muteKinds {
		end := muteOver(t, directory, unix.S_IFDIR, attentive)
		reload(t)
		run(t, "rm", policyFile("agents.d", limited))
		reload(t)
		if err := writePolicy("agents.d", limited, agentFiles[limited]); err != nil {
			t.Fatal(err)
		}
		reload(t)
		othersWork(t)
		end()
		reload(t)
		if _, err := as(t, limited).ListProfiles(minute(t), nil); err != nil {
			t.Errorf("the agent, after it has gone: %v", err)
		}
	}
	end := muteOver(t, directory, unix.S_IFDIR, true)
	killDaemon(t)
	awaitDaemon(t)
	othersWork(t)
	end()
	reload(t)
	if _, err := as(t, limited).ListProfiles(minute(t), nil); err != nil {
		t.Errorf("the agent, after a restart in between: %v", err)
	}
}

// TestHardeningHangStateDirectory mounts a file system that does not answer in the
// state directory, where only sidecar-launch looks. The unit's time ends the launch,
// and others go on meanwhile.
func TestHardeningHangStateDirectory(t *testing.T) {
	begin(t)
	namespace(t, "t-state")
	for kind, attentive := range muteKinds {
		p := probe(t, "t-state")
		end := muteOver(t, filepath.Dir(pidFileOf(p.Arguments)), unix.S_IFDIR, attentive)
		timeout := (5 * time.Second).Microseconds()
		p.TimeoutUSec = &timeout
		failed := make(chan error, 1)
		began := time.Now()
		go func() {
			_, err := as(t, tester).Launch(minute(t), p)
			failed <- err
		}()
		othersWork(t)
		if err := <-failed; !errors.Is(err, interfaces.ErrLaunchFailed) && !errors.Is(err, interfaces.ErrNotReady) {
			t.Errorf("%s: the launch: %v", kind, err)
		} else {
			t.Logf("%s: after %v: %v", kind, time.Since(began), err)
		}
		end()
		scrubFailed(t)
		p.TimeoutUSec = nil
		s := start(t, tester, p)
		if _, err := as(t, tester).Stop(minute(t), interfaces.StopParameters{ID: s.ID}); err != nil {
			t.Errorf("%s: stop: %v", kind, err)
		}
	}
}

// scrubFailed has the service forget the sidecars that have failed.
func scrubFailed(t *testing.T) {
	t.Helper()
	all, err := as(t, tester).List(minute(t), interfaces.ListParameters{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if _, err := as(t, tester).Stop(minute(t), interfaces.StopParameters{ID: s.ID}); err != nil {
			t.Errorf("stop %s: %v", s.ID, err)
		}
	}
}

// TestHardeningHangDirectoryLock holds the kernel's lock of /run/netns, as everybody who
// may read it can, and then the lock of an agent's socket directory. A look-up of a
// name that does not exist waits in the kernel: the service gives up, others work.
func TestHardeningHangDirectoryLock(t *testing.T) {
	begin(t)
	namespace(t, "t-locked")
	release := lockDirectory(t, netnsDirectory)
	err := refused(t, tester, probe(t, "t-nothing"), interfaces.ErrHostFailure)
	if !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("the error does not say that the kernel does not answer: %v", err)
	}
	othersWork(t)
	p := probe(t, "t-locked")
	s, err := as(t, tester).Launch(minute(t), p)
	if err != nil {
		t.Errorf("in a namespace that is there: %v", err)
	} else if _, err := as(t, tester).Stop(minute(t), interfaces.StopParameters{ID: s.ID}); err != nil {
		t.Errorf("stop: %v", err)
	}
	release()
	refused(t, tester, probe(t, "t-nothing"), interfaces.ErrNoSuchNetworkNamespace)

	run(t, "rm", socketOf(limited)) // a reload must make it again
	release = lockDirectory(t, filepath.Dir(socketOf(limited)))
	reload(t)
	othersWork(t)
	reload(t)
	release()
	eventually(t, 10*time.Second, "the agent is served again", func() bool {
		reload(t)
		_, err := as(t, limited).ListProfiles(minute(t), nil)
		return err == nil
	})
}
