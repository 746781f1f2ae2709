package server

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/spool"
)

const (
	refusedCount = 100 // how many refused entries are kept, the newest
	// maxLogged is how many refusals and failures of one run are logged: their
	// number is the agent's choice.
	maxLogged = 100

	reasonSuffix = ".reason"
	reasonMode   = 0o600
	// refusedTime begins the names in refused, so that they sort by age.
	refusedTime = "20060102T150405.000000"
	// trash begins the names of directories that lay in a refused directory. They
	// sort before all others, as the oldest.
	trash = "0-"

	// mostNames is how many names of a directory are looked at in one collection.
	mostNames = 64 << 10
	// mostRemoved is how many files of refused directories one collection removes.
	mostRemoved = 10_000
)

// refuse moves an entry to refused under a new name, since its own may be anything,
// and writes its name and the reason into a file beside it.
func (s *server) refuse(from *os.File, file string, reason error) verdict {
	as := s.refusedName(file)
	err := move(from, file, s.tree.refused, as)
	switch {
	case errors.Is(err, unix.ENOENT):
		return gone
	case err != nil:
		return s.cannotMove(file, err)
	}
	s.log("a request is refused", "name", file, "as", as, "reason", reason.Error())
	text := fmt.Sprintf("name: %q\nreason: %q\n", file, reason.Error()) // the agent's words
	if err := writeNew(s.tree.refused, as+reasonSuffix, []byte(text), reasonMode); err != nil {
		s.log("the reason cannot be written", "as", as, "error", err)
	}
	if s.moved.Add(1)%refusedCount == 0 {
		s.tidyRefused()
	}
	return moved
}

// refusedName makes a unique name: the time, the name of the request if it is a valid
// one, and a random number.
func (s *server) refusedName(file string) string {
	name, ok := spool.ParseFile(file)
	if !ok {
		name = "name"
	}
	var salt [4]byte
	_, _ = rand.Read(salt[:]) // never fails
	return s.now().UTC().Format(refusedTime) + "-" + name + "-" + hex.EncodeToString(salt[:])
}

// cannotMove logs that an entry stays where it is.
func (s *server) cannotMove(file string, err error) verdict {
	s.log("an entry can be neither claimed nor moved; it stays, and the others go on", "name", file, "error", err)
	return stuck
}

// log writes a warning, up to maxLogged in a run.
func (s *server) log(message string, args ...any) {
	switch n := s.logged.Add(1); {
	case n < maxLogged:
		s.Logger.Warn(message, args...)
	case n == maxLogged:
		s.Logger.Warn("there are many refusals and failures; no more of them are logged in this run")
	}
}

// names lists a directory, up to mostNames.
func names(dir *os.File) []string {
	list, err := openDirectory(dir, ".")
	if err != nil {
		return nil
	}
	defer list.Close()
	var all []string
	for len(all) < mostNames {
		some, err := list.Readdirnames(namesAtOnce)
		all = append(all, some...)
		if err != nil {
			break
		}
	}
	return all
}

// tidyTemporary removes the files in requests/tmp whose writers have died.
func (s *server) tidyTemporary() {
	for _, name := range names(s.tree.temporary) {
		if err := s.tidyOne(name); err != nil {
			s.refuse(s.tree.temporary, name, err)
		}
	}
}

// tidyOne removes a file that is old and not locked. Its age counts from the last
// change (ctime), which its owner cannot set. An error means that it is not a file
// that a writer makes.
func (s *server) tidyOne(name string) error {
	f, err := openBeneath(s.tree.temporary, name, unix.O_PATH|unix.O_NOFOLLOW)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := statOf(f)
	if err != nil {
		return err
	}
	if s.now().Sub(time.Unix(st.Ctim.Unix())) < spool.MaxAge {
		return nil
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return errors.New("left in requests/tmp: " + kindOf(st.Mode))
	}
	lock := flock.New(procFD(f), flock.SetFlag(os.O_RDONLY|unix.O_NONBLOCK))
	if locked, err := lock.TryLock(); err != nil || !locked {
		return nil // its writer lives, or does what no writer does
	}
	defer lock.Close()
	return ignoreMissing(remove(s.tree.temporary, name))
}

func ignoreMissing(err error) error {
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// tidyResults removes results that are old, and of the others all but the newest.
func (s *server) tidyResults() {
	type result struct {
		name     string
		modified time.Time
		size     int64
	}
	var all []result
	for _, name := range names(s.tree.results) {
		var st unix.Stat_t
		if unix.Fstatat(int(s.tree.results.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
			all = append(all, result{name, time.Unix(st.Mtim.Unix()), st.Size})
		}
	}
	slices.SortFunc(all, func(a, b result) int { return cmp.Compare(b.modified.UnixNano(), a.modified.UnixNano()) })
	var bytes int64
	for i, r := range all {
		bytes += r.size
		if i >= resultCount || bytes > resultBytes || s.now().Sub(r.modified) > resultAge {
			_ = remove(s.tree.results, r.name)
		}
	}
}

// tidyRefused removes all but the newest refused entries, with their reasons.
func (s *server) tidyRefused() {
	for budget := mostRemoved; budget > 0; {
		all := names(s.tree.refused)
		for i := range all {
			all[i] = strings.TrimSuffix(all[i], reasonSuffix)
		}
		slices.Sort(all)
		all = slices.Compact(all)
		if len(all) <= refusedCount {
			return
		}
		for _, name := range all[:len(all)-refusedCount] {
			s.discard(name, &budget)
			_ = remove(s.tree.refused, name+reasonSuffix)
		}
	}
}

// discard removes a refused entry and the files in it. Directories in it become
// refused entries of their own, so that their depth, which the agent chooses, does
// not matter. What exceeds the budget is left for the next collection.
func (s *server) discard(name string, budget *int) {
	*budget--
	if remove(s.tree.refused, name) == nil {
		return
	}
	dir, err := openDirectory(s.tree.refused, name)
	if err != nil {
		return
	}
	defer dir.Close()
	for *budget > 0 {
		inside, err := dir.Readdirnames(namesAtOnce)
		for _, child := range inside {
			*budget--
			if remove(dir, child) != nil {
				_ = move(dir, child, s.tree.refused, trash+s.refusedName(""))
			}
		}
		if err != nil {
			break
		}
	}
	_ = remove(s.tree.refused, name)
}
