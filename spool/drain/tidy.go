package drain

import (
	"cmp"
	"errors"
	"io"
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
	// mostNames is how many names of a directory are looked at in one collection.
	mostNames = 64 << 10
	// mostRemoved is how many files of refused directories one collection removes.
	mostRemoved = 10_000
	// trash begins the names of directories that lay in a refused one. They sort
	// before all others, as the oldest.
	trash = "0-"
)

// tidy collects what nobody needs any more.
func (d *drain) tidy() {
	d.tidyTemporary()
	d.tidyResults()
	d.tidyRefused()
}

// names lists a directory, up to a number.
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

// tidyTemporary removes what dead writers have left in requests/tmp.
func (d *drain) tidyTemporary() {
	for _, name := range names(d.tree.temporary) {
		if err := d.tidyOne(name); err != nil {
			d.refuse(d.tree.temporary, name, err)
		}
	}
}

// tidyOne removes a file that is old and that nobody has locked. The time is that
// of the last change (ctime), which its owner cannot set. An error means that it is
// no file that a writer makes.
func (d *drain) tidyOne(name string) error {
	f, err := openBeneath(d.tree.temporary, name, unix.O_PATH|unix.O_NOFOLLOW)
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
	if d.now().Sub(time.Unix(st.Ctim.Unix())) < spool.MaxAge {
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
	return ignoreMissing(remove(d.tree.temporary, name))
}

func ignoreMissing(err error) error {
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// tidyResults removes results that are old, and of the others all but the newest.
func (d *drain) tidyResults() {
	type result struct {
		name     string
		modified time.Time
		size     int64
	}
	var all []result
	for _, name := range names(d.tree.results) {
		var st unix.Stat_t
		if unix.Fstatat(int(d.tree.results.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
			all = append(all, result{name, time.Unix(st.Mtim.Unix()), st.Size})
		}
	}
	slices.SortFunc(all, func(a, b result) int { return cmp.Compare(b.modified.UnixNano(), a.modified.UnixNano()) })
	var bytes int64
	for i, r := range all {
		bytes += r.size
		if i >= resultCount || bytes > resultBytes || d.now().Sub(r.modified) > resultAge {
			_ = remove(d.tree.results, r.name)
		}
	}
}

// tidyRefused removes all but the newest refused entries, with their reasons.
func (d *drain) tidyRefused() {
	for budget := mostRemoved; budget > 0; {
		all := names(d.tree.refused)
		for i := range all {
			all[i] = strings.TrimSuffix(all[i], reasonSuffix)
		}
		slices.Sort(all)
		all = slices.Compact(all)
		if len(all) <= refusedCount {
			return
		}
		for _, name := range all[:len(all)-refusedCount] {
			d.discard(name, &budget)
			_ = remove(d.tree.refused, name+reasonSuffix)
		}
	}
}

// discard removes a refused entry. What lies in a directory is removed with it, but
// for directories, which become refused entries of their own: so nothing is as deep
// as its maker wants it, and what does not fit into the budget is left for the next
// collection.
func (d *drain) discard(name string, budget *int) {
	*budget--
	if remove(d.tree.refused, name) == nil {
		return
	}
	dir, err := openDirectory(d.tree.refused, name)
	if err != nil {
		return
	}
	defer dir.Close()
	for *budget > 0 {
		inside, err := dir.Readdirnames(namesAtOnce)
		for _, child := range inside {
			*budget--
			if remove(dir, child) != nil {
				_ = move(dir, child, d.tree.refused, trash+d.asideName(""))
			}
		}
		if errors.Is(err, io.EOF) || err != nil {
			break
		}
	}
	_ = remove(d.tree.refused, name)
}
