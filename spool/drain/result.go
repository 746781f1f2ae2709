package drain

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/spool"
)

const (
	resultAge   = 2 * time.Minute // how long a result is kept
	resultCount = 1024            // how many results are kept, the newest
	resultBytes = 64 << 20        // and of what size together
	resultMode  = 0o644
)

// results counts what was written since the last collection.
type results struct {
	mu           sync.Mutex
	count, bytes int
}

// due counts one result more, and reports whether it is time to collect.
func (r *results) due(size int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
	r.bytes += size
	if r.count < resultCount/4 && r.bytes < resultBytes/4 {
		return false
	}
	r.count, r.bytes = 0, 0
	return true
}

// answer leaves the result of a request. It is not synced: after a power loss
// nobody waits for it.
func (d *drain) answer(name string, reply spool.Reply) {
	text, err := json.Marshal(reply)
	if err == nil {
		err = d.writeResult(name, text)
	}
	if err != nil {
		d.log("a result cannot be written; whoever waits for it is not told", "request", name, "error", err)
	}
	if d.results.due(len(text)) {
		d.tidyResults()
	}
}

// writeResult writes beside the result's place and renames: it is complete when it
// is there.
func (d *drain) writeResult(name string, text []byte) error {
	temporary := "." + name + ".tmp"
	_ = remove(d.tree.results, temporary) // of a drain that was killed
	if err := writeNew(d.tree.results, temporary, text, resultMode); err != nil {
		_ = remove(d.tree.results, temporary)
		return err
	}
	dir := int(d.tree.results.Fd())
	if err := unix.Renameat(dir, temporary, dir, spool.File(name)); err != nil {
		_ = remove(d.tree.results, temporary)
		return fmt.Errorf("rename: %w", err)
	}
	return nil
}

// writeNew writes a file that is not there yet. Its mode is as given, whatever the
// umask.
func writeNew(dir *os.File, name string, text []byte, mode fs.FileMode) error {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, uint32(mode))
	if err != nil {
		return &fs.PathError{Op: "create", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	_, err = f.Write(text)
	return errors.Join(err, f.Chmod(mode))
}
