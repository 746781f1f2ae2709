package policy

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"tripleo.io/sidecar/interfaces"
)

const (
	suffix      = ".toml"
	maxDocument = 256 << 10 // bytes of a policy file
)

// wantName is the syntax that interfaces.ValidName checks.
const wantName = "1 to 32 of a-z, 0-9 and '-', not beginning with '-'"

// source is a policy file.
type source struct {
	name     string // of the profile or agent that it describes
	file     string
	document []byte
}

// loader collects the problems and warnings of all files.
type loader struct {
	problems []error
	warnings []string
}

// read reads the files in a subdirectory of each directory, sorted by name. A file
// replaces the file of the same name in an earlier directory; an empty file only hides
// it. A directory need not exist.
func (l *loader) read(dirs []string, sub string) []source {
	files := map[string]string{}
	for _, dir := range dirs {
		dir = filepath.Join(dir, sub)
		names, err := list(dir)
		if err != nil {
			l.problems = append(l.problems, fmt.Errorf("%s:1: directory: %w", dir, unwrapPath(err)))
		}
		for _, name := range names {
			files[name] = filepath.Join(dir, name)
		}
	}
	var sources []source
	for _, name := range slices.Sorted(maps.Keys(files)) {
		s, err := read(files[name])
		if err != nil {
			l.problems = append(l.problems, fmt.Errorf("%s:1: file: %w", files[name], unwrapPath(err)))
		} else if len(s.document) > 0 {
			sources = append(sources, s)
		}
	}
	return sources
}

func (l *loader) add(r *report) {
	l.problems = append(l.problems, r.problems...)
	l.warnings = append(l.warnings, r.warnings...)
}

// list returns the names of the policy files in a directory.
func list(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := checkOwner(f); err != nil {
		return nil, err
	}
	all, err := f.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(name string) bool {
		return !strings.HasSuffix(name, suffix) || strings.HasPrefix(name, ".")
	}), nil
}

// read reads one policy file. It checks the open file, so nobody can exchange it after
// the check.
func read(file string) (source, error) {
	s := source{name: strings.TrimSuffix(filepath.Base(file), suffix), file: file}
	if !interfaces.ValidName(s.name) {
		return s, fmt.Errorf("%q is not a name: "+wantName, s.name)
	}
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a fifo must not block
	if err != nil {
		return s, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return s, errors.New("is not a regular file")
	}
	if err := checkOwner(f); err != nil {
		return s, err
	}
	s.document, err = io.ReadAll(io.LimitReader(f, maxDocument+1))
	if len(s.document) > maxDocument {
		return s, fmt.Errorf("is larger than %d bytes", maxDocument)
	}
	return s, err
}

// checkOwner refuses a file or directory that anybody but root and the user of this
// process could have written.
func checkOwner(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("its owner is unknown")
	}
	return trusted(stat.Uid, info.Mode(), os.Geteuid())
}

// trusted decides on the owner and the permissions of a policy file.
func trusted(uid uint32, mode fs.FileMode, self int) error {
	switch {
	case uid != 0 && int(uid) != self:
		return fmt.Errorf("belongs to user %d; it must belong to root", uid)
	case mode.Perm()&0o022 != 0:
		return fmt.Errorf("may be written by others (mode %04o); run chmod go-w", mode.Perm())
	}
	return nil
}

// unwrapPath removes the operation and the path from an error: the report has them.
func unwrapPath(err error) error {
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}
