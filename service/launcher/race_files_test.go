package launcher

import (
	"errors"
	"os"
	"strconv"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/netns/netnstest"
)

// fileRace is an agent's pid file, and a victim that it would like to be taken
// for it: another directory with a file of the same name. The victim belongs to
// the test, never to the machine.
type fileRace struct {
	state, victim string
	own           *os.File // the agent's directory, wherever it is called
	inode         [2]uint64
}

const victimText = "1\n" // a number that would be translated

func newFileRace(t *testing.T, swapped string) *fileRace {
	t.Helper()
	r := &fileRace{state: t.TempDir(), victim: t.TempDir()}
	must(t, os.MkdirAll(r.state+"/dhcp/1", 0o755))
	must(t, os.MkdirAll(r.victim+"/1", 0o755))
	target := r.victim
	if swapped == "dhcp/1" {
		target += "/1"
	}
	must(t, os.WriteFile(r.victim+"/1/pid", []byte(victimText), 0o644))
	must(t, os.Symlink(target, r.state+"/evil"))
	own, err := os.Open(r.state + "/dhcp/1")
	must(t, err)
	t.Cleanup(func() { own.Close() })
	r.own, r.inode = own, inode(t, r.victim+"/1/pid")
	return r
}

// reset puts the agent's pid file there as the payload would write it.
func (r *fileRace) reset(t *testing.T) {
	t.Helper()
	fd, err := unix.Openat(int(r.own.Fd()), "pid", unix.O_CREAT|unix.O_TRUNC|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	must(t, err)
	_, err = unix.Write(fd, []byte(victimText))
	must(t, errors.Join(err, unix.Close(fd)))
}

// text returns what the agent's own pid file holds, "" if it is gone.
func (r *fileRace) text(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(throughProc(r.own) + "/pid")
	if err != nil && !os.IsNotExist(err) {
		t.Error(err)
	}
	return string(text)
}

// checkVictim makes sure that nothing was removed, written or added there.
func (r *fileRace) checkVictim(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(r.victim + "/1/pid")
	if err != nil || string(text) != victimText || inode(t, r.victim+"/1/pid") != r.inode {
		t.Errorf("the victim holds %q, %v", text, err)
	}
	if entries, err := os.ReadDir(r.victim + "/1"); err != nil || len(entries) != 1 {
		t.Errorf("the victim's directory holds %v, %v", entries, err)
	}
}

// race swaps two names below the state directory while act is called, if there is
// time as often as times. hit says whether a call without an error did what it
// should to the own file.
func (r *fileRace) race(t *testing.T, swapped string, times int, act func() error, hit func() bool) {
	t.Helper()
	var swaps atomic.Int64
	var done atomic.Bool
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		exchange(t, &swaps, &done, r.state+"/"+swapped, r.state+"/evil")
	}()
	var c race
	again := func() error { r.reset(t); return act() }
	c.run(t, times, func() bool { return swaps.Load() >= rounds }, again, func() {
		if !hit() {
			t.Errorf("it worked, but not on the agent's own file, which holds %q", r.text(t))
		}
	})
	done.Store(true)
	<-finished
	r.checkVictim(t)
	t.Logf("%d swaps, %d worked, %d refused", swaps.Load(), c.worked, c.refused)
}

// TestLaunchRaceNeverTouchesAPIDFileBehindALink swaps the agent's directory, the
// last and an inner component of the path, with a link to the victim while old pid
// files are removed and new ones translated.
func TestLaunchRaceNeverTouchesAPIDFileBehindALink(t *testing.T) {
	for name, swapped := range map[string]string{"last component": "dhcp/1", "inner component": "dhcp"} {
		file := func(r *fileRace) document.File { return document.File{Root: r.state, Path: "dhcp/1/pid"} }
		t.Run("removed, "+name, func(t *testing.T) {
			r := newFileRace(t, swapped)
			r.race(t, swapped, rounds, func() error { return removeOld(file(r)) }, func() bool { return r.text(t) == "" })
		})
		t.Run("translated, "+name, func(t *testing.T) {
			r := newFileRace(t, swapped)
			table := unitOf(100, map[int]int{1: 200})
			r.race(t, swapped, rounds/5, func() error {
				_, err := translate(file(r), table, document.Private)
				return err
			}, func() bool { return r.text(t) == "200\n" })
		})
	}
}

// TestLaunchRaceNeverWritesThroughAPIDFileThatBecomesALink puts a plain file and a
// link to the victim in the place of the pid file in turn, while it is removed,
// translated and made again.
func TestLaunchRaceNeverWritesThroughAPIDFileThatBecomesALink(t *testing.T) {
	r := newFileRace(t, "dhcp/1")
	dir := r.state + "/dhcp/1"
	var done atomic.Bool
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		for i := 0; !done.Load(); i++ {
			next := r.state + "/next" + strconv.Itoa(i%2)
			if i%2 == 0 {
				_ = os.Symlink(r.victim+"/1/pid", next)
			} else {
				_ = os.WriteFile(next, []byte(victimText), 0o644)
			}
			if err := os.Rename(next, dir+"/pid"); err != nil {
				t.Errorf("swapping: %v", err)
				return
			}
		}
	}()
	f, table := document.File{Root: r.state, Path: "dhcp/1/pid"}, unitOf(100, map[int]int{1: 200})
	var c race
	c.run(t, rounds, func() bool { return true }, func() error {
		if (c.worked+c.refused)%10 == 0 {
			must(t, removeOld(f))
		}
		_, err := translate(f, table, document.Private)
		return err
	}, func() {})
	done.Store(true)
	<-finished
	r.checkVictim(t)
	t.Logf("%d translated, %d refused", c.worked, c.refused)
}

// TestLaunchRaceOfAWholeLaunch is the same for all that happens before the
// program starts: the mount is pinned, and the old pid file removed.
func TestLaunchRaceOfAWholeLaunch(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	l, r := newRig(t).Launcher, newFileRace(t, "dhcp/1")
	own := inode(t, r.state+"/dhcp/1")
	plan := documentOf(document.Plan{
		ID: testID, PIDNamespace: document.Private,
		Mounts:   []document.Mount{{Root: r.state, Path: "dhcp/1", Writable: true}},
		PIDFiles: []document.File{{Root: r.state, Path: "dhcp/1/pid"}},
	})
	pin := l.Base + "/" + testID + "/mounts/0"
	r.race(t, "dhcp/1", rounds/5, func() error { return l.Prepare(plan) }, func() bool {
		return r.text(t) == "" && inode(t, pin) == own
	})
	must(t, l.Clean(testID))
}
