//go:build testhost

package test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

// race is a directory that is exchanged with a symbolic link to /etc all the
// time, and what became of launches that mount it.
type race struct {
	directory string // the one whose name is exchanged
	link      string
	rounds    func() int
}

func newRace(t *testing.T) *race {
	t.Helper()
	base := directory(t)
	r := &race{directory: base + "/d", link: base + "/link"}
	for _, err := range []error{
		os.Mkdir(r.directory, 0o755),
		os.Symlink("/etc", r.link),
		os.WriteFile(r.directory+"/conf", nil, 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	r.rounds = swapping(t, func() {
		// There for some time, away for less: or nothing would ever start.
		time.Sleep(rand.N(500 * time.Microsecond))
		r.exchange()
		time.Sleep(rand.N(50 * time.Microsecond))
		r.exchange()
	})
	return r
}

func (r *race) exchange() {
	_ = unix.Renameat2(unix.AT_FDCWD, r.directory, unix.AT_FDCWD, r.link, unix.RENAME_EXCHANGE)
}

// try launches once, and says what is wrong: anything but a sidecar that sees its
// own directory, or a clean failure.
func (r *race) try(t *testing.T, p interfaces.LaunchParameters) (launched bool, err error) {
	t.Helper()
	s, err := as(t, tester).Launch(minute(t), p)
	var failed *interfaces.LaunchFailedError
	switch {
	case err == nil:
		return true, r.look(int(*s.Runtime.ProcessID))
	case errors.As(err, &failed) && failed.ExitCode != nil && *failed.ExitCode == 66:
		return false, fmt.Errorf("the sidecar saw /etc: %w", err)
	case errors.As(err, &failed), errors.Is(err, interfaces.ErrNotReady):
		return false, nil
	}
	return false, err
}

// look finds the host's /etc in what a process has mounted.
func (r *race) look(pid int) error {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if fields[3] == "/etc" || strings.HasPrefix(fields[3], "/etc/") {
			return fmt.Errorf("process %d has %s mounted on %s", pid, fields[3], fields[4])
		}
	}
	if sameFile(fmt.Sprintf("/proc/%d/root%s", pid, r.directory), "/etc") {
		return fmt.Errorf("%s of process %d is the host's /etc", r.directory, pid)
	}
	return nil
}

func TestNetnsMountRace(t *testing.T) {
	begin(t)
	namespace(t, "t-race")
	marker := "/etc/ETC-OF-THE-HOST"
	if err := os.WriteFile(marker, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(marker) })
	before := namesIn(t, "/etc")
	stopAllAtEnd(t, tester)
	r := newRace(t)
	writer := interfaces.LaunchParameters{
		Profile: "looker", NetworkNamespace: new("t-race"),
		Arguments: []string{"--pid-file=" + r.directory + "/pid"},
	}
	reader := shaped(t, "looker", "t-race", "--file="+r.directory+"/conf")
	const least, rounds = 15, 5000 // launches of each kind; rounds of two exchanges
	good, bad := r.launchUntil(t, []interfaces.LaunchParameters{writer, reader}, least, rounds)
	t.Logf("%d exchanges; %d launches worked, %d failed cleanly", 2*r.rounds(), good, bad)
	if good == 0 {
		t.Error("no launch has worked: nothing was tried")
	}
	if diff := cmp.Diff(before, namesIn(t, "/etc")); diff != "" {
		t.Errorf("/etc has changed (-before +after):\n%s", diff)
	}
}

// launchUntil launches each of the kinds again and again, all at the same time,
// until there were enough of them and enough rounds.
func (r *race) launchUntil(t *testing.T, kinds []interfaces.LaunchParameters, least, rounds int) (good, bad int) {
	t.Helper()
	var worked, failed atomic.Int64
	if err := atOnce(len(kinds), kinds, func(p interfaces.LaunchParameters) error {
		for n := 0; n < least || r.rounds() < rounds; n++ {
			launched, err := r.try(t, p)
			if err != nil {
				return err
			}
			if launched {
				worked.Add(1)
			} else {
				failed.Add(1)
			}
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	return int(worked.Load()), int(failed.Load())
}

func namesIn(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	return names
}
