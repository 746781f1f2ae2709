// Package records keeps the requests of sidecars that come back after the host has
// booted: one file for each, in a directory that only root can enter.
//
// A record is a wish for the time after a boot. It says nothing about what runs: systemd does.
//
// A write is complete or did not happen, whenever the power fails: the text goes to another
// name, is synced, takes the place of the old file by rename(2), and the directory is synced.
//
// Out of scope: when a record is written, and what becomes of it after a boot.
package records

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/bounded"
)

const (
	// limit bounds one call. A disk can take a second for a sync, or hang.
	limit = 5 * time.Second
	// atOnce bounds the calls that are under way or hang, each for another sidecar.
	atOnce = 64
	// maxSize is more than the longest request of the interface.
	maxSize = 1 << 20

	suffix     = ".json"
	temporary  = ".new"        // of a file that is being written
	unreadable = ".unreadable" // of a file that was set aside
)

// Record is the request of a sidecar.
type Record struct {
	Boot        string             `json:"boot"` // tells the boot of the host in which it was started from others
	Context     interfaces.Context `json:"context"`
	TimeoutUSec *int64             `json:"timeoutUSec,omitempty"` // of the launch; nil: the profile's
	Sandbox     bool               `json:"sandbox,omitempty"`     // the service made its network namespace
}

// Directory is a directory of records. Its methods end in time; one call for each sidecar is
// under way at a time. Use New.
type Directory struct {
	path  string
	calls *bounded.Calls
}

// New returns the records in a directory. Write makes it if it does not exist.
func New(path string) *Directory { return &Directory{path, bounded.New(limit, 1, atOnce)} }

// Read returns the record of a sidecar, nil if it has none.
func (d *Directory) Read(id interfaces.ID) (*Record, error) {
	return bounded.Do(d.calls, id.String(), func() (*Record, error) {
		r, err := d.read(id)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return r, err
	}, nil)
}

// Write replaces the record of a sidecar. A write that ends after Write has given it up is
// taken back.
func (d *Directory) Write(id interfaces.ID, r Record) error {
	_, err := bounded.Do(d.calls, id.String(), func() (struct{}, error) { return struct{}{}, d.write(id, r) },
		func(struct{}) { _ = d.remove(id) })
	return err
}

// Remove removes the record of a sidecar, if it has one.
func (d *Directory) Remove(id interfaces.ID) error {
	return bounded.Err(d.calls, id.String(), func() error { return d.remove(id) })
}

// All returns all records. It must be called before the first Write. The error names the files that
// cannot be read; they are renamed, so that an operator can look at them.
func (d *Directory) All() (map[interfaces.ID]Record, error) {
	type result struct {
		found map[interfaces.ID]Record
		err   error
	}
	r, err := bounded.Do(d.calls, "", func() (result, error) {
		found, err := d.all()
		return result{found, err}, nil
	}, nil)
	return r.found, errors.Join(err, r.err)
}

func (d *Directory) file(id interfaces.ID) string { return filepath.Join(d.path, id.String()+suffix) }

func (d *Directory) read(id interfaces.ID) (*Record, error) {
	file, err := os.Open(d.file(id))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	if err == nil && len(text) > maxSize {
		err = fmt.Errorf("it has more than %d bytes", maxSize)
	}
	if err != nil {
		return nil, err
	}
	var r Record
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&r); err != nil {
		return nil, err
	}
	if r.Boot == "" || r.Context.Agent != id.Agent || r.Context.Profile != id.Profile {
		return nil, fmt.Errorf("it is of %q, %q and boot %q, which does not fit its name", r.Context.Agent, r.Context.Profile, r.Boot)
	}
	return &r, nil
}

func (d *Directory) write(id interfaces.ID, r Record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(d.path, 0o700); err != nil {
		return err
	}
	next := d.file(id) + temporary
	if err = writeSynced(next, text); err == nil {
		err = os.Rename(next, d.file(id))
	}
	if err != nil {
		_ = os.Remove(next) // a full disk needs the space
		return err
	}
	return d.sync()
}

func writeSynced(path string, text []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

func (d *Directory) remove(id interfaces.ID) error {
	err := os.Remove(d.file(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, d.sync())
}

// sync makes the names in the directory survive a power loss (fsync(2)).
func (d *Directory) sync() error {
	dir, err := os.Open(d.path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

func (d *Directory) all() (map[interfaces.ID]Record, error) {
	entries, err := os.ReadDir(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	found := map[interfaces.ID]Record{}
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), suffix+temporary) { // of a write that did not end
			_ = os.Remove(filepath.Join(d.path, entry.Name()))
		}
		name, ok := strings.CutSuffix(entry.Name(), suffix)
		id, idErr := interfaces.ParseID(name)
		if !ok || idErr != nil {
			continue // set aside, or not ours
		}
		r, readErr := d.read(id)
		if readErr != nil {
			aside := d.file(id) + unreadable
			err = errors.Join(err, fmt.Errorf("%s: %w; it was renamed to %s", d.file(id), readErr, filepath.Base(aside)), os.Rename(d.file(id), aside))
			continue
		}
		found[id] = *r
	}
	return found, err
}
