package policy

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// File is a file in a state directory.
type File struct {
	Root string // the state directory
	Path string // relative to Root
}

const (
	dirHole  = "{dir}"
	stemHole = "{stem}"
)

// instance is the file or the directory that an instance argument names.
type instance struct {
	root string // the state directory that it lies in
	path string // absolute
	dir  string // what {dir} stands for: the directory that it lies in, or itself
}

// stem returns the base name without its extension.
func (i instance) stem() string {
	base := path.Base(i.path)
	return strings.TrimSuffix(base, path.Ext(base))
}

// isTemplate tells a template from an option's name.
func isTemplate(s string) bool { return strings.HasPrefix(s, "{") || strings.HasPrefix(s, "/") }

// checkTemplate says what is wrong with the path of a pid file or a socket as a
// profile writes it.
func checkTemplate(s string) error {
	rest, ok := strings.CutPrefix(s, stateHole+"/")
	if !ok {
		rest, ok = strings.CutPrefix(s, dirHole+"/")
	}
	if !ok {
		return fmt.Errorf("%q must begin with %s/ or %s/", s, stateHole, dirHole)
	}
	if reason := checkPath("/" + strings.ReplaceAll(rest, stemHole, "x")); reason != "" {
		return fmt.Errorf("%q: what follows the first '/': %s", s, reason)
	}
	return nil
}

// expand returns the file that a template stands for. Its error says why the
// instance's path gives none.
func (i instance) expand(template string) (File, error) {
	stem := i.stem()
	if stem == "" && strings.Contains(template, stemHole) {
		return File{}, errors.New("its file's name must have something before the extension")
	}
	absolute := strings.NewReplacer(stateHole, i.root, dirHole, i.dir, stemHole, stem).Replace(template)
	if reason := checkPath(absolute); reason != "" {
		return File{}, fmt.Errorf("it makes %s, which is not accepted: %s", cut(absolute), reason)
	}
	rel, ok := beneath(i.root, absolute)
	if !ok {
		return File{}, fmt.Errorf("it makes %s, which is outside of %s", cut(absolute), i.root)
	}
	return File{Root: i.root, Path: rel}, nil
}

// templateDir returns the directory of a template's file: relative to the state
// directory, or "" and true if it is the instance's own.
func templateDir(template string) (dir string, own bool) {
	if rest, ok := strings.CutPrefix(template, stateHole+"/"); ok {
		return path.Dir(rest), false
	}
	rest := strings.TrimPrefix(template, dirHole+"/")
	return path.Dir(rest), path.Dir(rest) == "."
}
