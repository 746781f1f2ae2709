package launch

import (
	"os"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
	"tripleo.io/sidecar/service/netns/netnstest"
)

const rounds = 10_000

// exchange swaps two names until done is set, at least as often as rounds.
func exchange(t *testing.T, swaps *atomic.Int64, done *atomic.Bool, a, b string) {
	for !done.Load() || swaps.Load() < rounds {
		if err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE); err != nil {
			t.Errorf("exchanging %s and %s: %v", a, b, err)
			return
		}
		swaps.Add(1)
	}
}

// TestLaunchRaceNeverPinsWhatALinkPointsTo swaps directories of the agent with
// links to /etc, the last and an inner component of the path, while they are
// being pinned. Every pin must be the agent's own directory.
func TestLaunchRaceNeverPinsWhatALinkPointsTo(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	for name, swapped := range map[string]string{"last component": "dhcp/1", "inner component": "dhcp"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			target := "/etc"
			if swapped == "dhcp" {
				target = t.TempDir() // has a "1" that could be reached
				must(t, os.Mkdir(target+"/1", 0o755))
			}
			must(t, os.Symlink(target, r.state+"/evil"))
			own := inode(t, r.state+"/dhcp/1")
			var swaps atomic.Int64
			var done atomic.Bool
			finished := make(chan struct{})
			go func() {
				defer close(finished)
				exchange(t, &swaps, &done, r.state+"/"+swapped, r.state+"/evil")
			}()
			pinned, refused := 0, 0
			for (swaps.Load() < rounds || pinned+refused < rounds || pinned < 100 || refused < 100) && !t.Failed() {
				p := r.plan()
				p.PIDFiles = nil // what a link to /etc would be dangerous for; see race_files_test.go
				if r.Prepare(p) != nil {
					refused++
					continue
				}
				pinned++
				if got := inode(t, r.pin("mounts/0")); got != own {
					t.Errorf("inode %d is pinned, want the agent's own %d", got, own)
				}
			}
			done.Store(true)
			<-finished
			must(t, r.Clean(testID))
			t.Logf("%d swaps, %d pinned, %d refused", swaps.Load(), pinned, refused)
		})
	}
}

// TestLaunchRaceNeverPinsTheHostsNamespace mounts the host's namespace over an
// allowed name and takes it away again while that name is being pinned.
func TestLaunchRaceNeverPinsTheHostsNamespace(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	r := newRig(t)
	path := r.Namespaces.Path + "/qdhcp-1"
	netnstest.Make(t, path)
	own := inode(t, path)
	var done atomic.Bool
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		for !done.Load() && !t.Failed() {
			if err := unix.Mount("/proc/self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
				t.Errorf("mounting: %v", err)
			}
			if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
				t.Errorf("unmounting: %v", err)
			}
		}
	}()
	pinned, refused := 0, 0
	for (pinned < 200 || refused < 200) && !t.Failed() {
		p := Plan{ID: testID, NetworkNamespace: "qdhcp-1", PIDNamespace: Private}
		if r.Prepare(p) != nil {
			refused++
			continue
		}
		pinned++
		if got := inode(t, r.pin("netns")); got != own {
			t.Errorf("inode %d is pinned, want the agent's own %d", got, own)
		}
	}
	done.Store(true)
	<-finished
	must(t, r.Clean(testID))
	t.Logf("%d pinned, %d refused", pinned, refused)
}
