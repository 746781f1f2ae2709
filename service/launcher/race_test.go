package launcher

import (
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/netns/netnstest"
)

const (
	rounds = 10_000
	// plenty is how often both ends of a race should be seen.
	plenty = 100
	// raceTime is how long a race may take to come to its numbers. A machine with
	// one busy processor would take minutes: then it is over when both ends were seen
	// at all.
	raceTime = 5 * time.Second
	// raceLimit is when a race is given up in which only one end was seen.
	raceLimit = 2 * time.Minute
)

// race counts how often something worked and how often it was refused while
// somebody else changed what it was about.
type race struct {
	began           time.Time
	worked, refused int
}

// run calls act again and again, at least as often as least and until enough says
// so, or until the time is over.
func (r *race) run(t *testing.T, least int, enough func() bool, act func() error, worked func()) {
	t.Helper()
	for r.began = time.Now(); !t.Failed() && !r.over(t, least, enough); {
		if act() != nil {
			r.refused++
			continue
		}
		r.worked++
		worked()
	}
}

func (r *race) over(t *testing.T, least int, enough func() bool) bool {
	t.Helper()
	took := time.Since(r.began)
	if took > raceLimit {
		t.Errorf("after %v it has worked %d times and was refused %d times", took, r.worked, r.refused)
		return true
	}
	if took > raceTime {
		return r.worked > 0 && r.refused > 0
	}
	return r.worked+r.refused >= least && r.worked >= plenty && r.refused >= plenty && enough()
}

// exchange swaps two names until done is set.
func exchange(t *testing.T, swaps *atomic.Int64, done *atomic.Bool, a, b string) {
	for !done.Load() {
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
			p := r.plan()
			p.PIDFiles = nil // what a link to /etc would be dangerous for; see race_files_test.go
			var c race
			c.run(t, rounds, func() bool { return swaps.Load() >= rounds }, func() error { return r.Prepare(p) }, func() {
				if got := inode(t, r.pin("mounts/0")); got != own {
					t.Errorf("inode %d is pinned, want the agent's own %d", got, own)
				}
			})
			done.Store(true)
			<-finished
			must(t, r.Clean(testID))
			t.Logf("%d swaps, %d pinned, %d refused", swaps.Load(), c.worked, c.refused)
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
	p := documentOf(document.Plan{ID: testID, PIDNamespace: document.Private})
	p.Context.NetworkNamespace = new("qdhcp-1")
	var c race
	c.run(t, 400, func() bool { return true }, func() error { return r.Prepare(p) }, func() {
		if got := inode(t, r.pin("netns")); got != own {
			t.Errorf("inode %d is pinned, want the agent's own %d", got, own)
		}
	})
	done.Store(true)
	<-finished
	must(t, r.Clean(testID))
	t.Logf("%d pinned, %d refused", c.worked, c.refused)
}
