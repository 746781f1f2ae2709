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

// location is the place of a path that an argument names.
type location struct {
	File
	dir string // absolute; the file's directory, or the path itself if it names a directory
}

// isTemplate tells a template from an option's name.
func isTemplate(s string) bool { return strings.HasPrefix(s, "{") || strings.HasPrefix(s, "/") }

// checkTemplate says what is wrong with the path of a pid file or a socket in a
// profile.
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

// expand returns the file that a template stands for when the instance is at this
// location.
func (l location) expand(template string) (File, error) {
	base := path.Base(l.Path)
	stem := strings.TrimSuffix(base, path.Ext(base))
	if stem == "" && strings.Contains(template, stemHole) {
		return File{}, errors.New("its file's name must have something before the extension")
	}
	absolute := strings.NewReplacer(stateHole, l.Root, dirHole, l.dir, stemHole, stem).Replace(template)
	if reason := checkPath(absolute); reason != "" {
		return File{}, fmt.Errorf("it makes %s, which is not accepted: %s", cut(absolute), reason)
	}
	rel, ok := beneath(l.Root, absolute)
	if !ok {
		return File{}, fmt.Errorf("it makes %s, which is outside of %s", cut(absolute), l.Root)
	}
	return File{Root: l.Root, Path: rel}, nil
}

// templateDir returns the directory of a template's file: relative to the state
// directory, or "." and true if it is the instance's own directory.
func templateDir(template string) (dir string, own bool) {
	if rest, ok := strings.CutPrefix(template, stateHole+"/"); ok {
		return path.Dir(rest), false
	}
	dir = path.Dir(strings.TrimPrefix(template, dirHole+"/"))
	return dir, dir == "."
}
