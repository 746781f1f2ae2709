package policy

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"tripleo.io/sidecar/service/document"
)

const (
	defaultTimeout = 30 * time.Second
	maxTimeout     = 10 * time.Minute
)

// ready sets how the profile's process shows that it is ready.
func (r *report) ready(p *Profile, raw *rawReady) {
	if raw == nil {
		r.errorf("ready", "is missing: name one of pid-file, socket and process")
		return
	}
	ways := 0
	for _, given := range []bool{raw.PIDFile != nil, raw.Socket != nil, raw.Process} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		r.errorf("ready", "must have exactly one of pid-file, socket and process = true")
	}
	p.Ready = Ready{
		PIDFiles: r.pidFiles(p, raw.PIDFile),
		Process:  raw.Process,
		Timeout:  r.duration("ready.timeout", raw.Timeout, defaultTimeout, time.Second, maxTimeout),
	}
	if raw.Socket != nil {
		p.Ready.Socket = *raw.Socket
		r.template(p, "ready.socket", *raw.Socket)
		if _, h, ok := p.valueRule(p.Instance); ok && h.private && strings.HasPrefix(*raw.Socket, dirHole) {
			r.errorf("ready.socket", "%q lies in a directory of the container alone, where nobody can connect to it", *raw.Socket)
		}
	}
	if raw.DefaultPIDFile != nil {
		const key = "ready.default-pid-file"
		p.Ready.DefaultPIDFile = *raw.DefaultPIDFile
		if len(p.Ready.PIDFiles) != 1 || isTemplate(p.Ready.PIDFiles[0]) {
			r.errorf(key, "needs a pid-file that is one option")
		} else {
			r.template(p, key, *raw.DefaultPIDFile)
		}
	}
}

// duration returns normal if the key is not given.
func (r *report) duration(key string, s *string, normal, least, most time.Duration) time.Duration {
	if s == nil {
		return normal
	}
	d, err := time.ParseDuration(*s)
	if err != nil || d < least || d > most {
		r.errorf(key, `%q is not a time between %s and %s, such as "%s"`, *s, written(least), written(most), written(normal))
	}
	return d
}

// written returns a duration as people write it: 10m, not 10m0s.
func written(d time.Duration) string {
	s := d.String()
	for _, zero := range []string{"0s", "0m"} {
		if strings.HasSuffix(strings.TrimSuffix(s, zero), "m") || strings.HasSuffix(strings.TrimSuffix(s, zero), "h") {
			s = strings.TrimSuffix(s, zero)
		}
	}
	return s
}

// pidFiles checks pid-file, which is an option, a template, or a list of them.
func (r *report) pidFiles(p *Profile, raw any) []string {
	const key = "ready.pid-file"
	if raw == nil {
		return nil
	}
	values, isList := raw.([]any)
	if !isList {
		values = []any{raw}
	}
	var files []string
	for _, value := range values {
		file, ok := value.(string)
		if !ok {
			r.errorf(key, "must be a string or a list of strings")
			return nil
		}
		files = append(files, file)
	}
	switch {
	case len(files) == 0:
		r.errorf(key, "is an empty list")
	case len(files) > document.MaxPIDFiles:
		r.errorf(key, "lists %d files, %d are accepted", len(files), document.MaxPIDFiles)
		return nil
	}
	for i, file := range files {
		r.pidFile(p, key, file)
		if slices.Contains(files[:i], file) {
			r.errorf(key, "%s is listed twice", file)
		}
	}
	return files
}

func (r *report) pidFile(p *Profile, key, file string) {
	if isTemplate(file) {
		r.template(p, key, file)
		return
	}
	_, h, ok := p.valueRule(file)
	switch {
	case !ok:
		r.errorf(key, "%s must have exactly one rule in arguments, with {path:pid} or {path:rw} as its value%s", file, p.didYouMean(file))
	case !h.path || !h.writable || h.dir:
		r.errorf(key, "the value of %s must be {path:pid} or {path:rw}: the process writes the file", file)
	}
}

// template checks a template, and that the process can write the file that it names.
func (r *report) template(p *Profile, key, template string) {
	if err := checkTemplate(template); err != nil {
		r.errorf(key, "%v", err)
		return
	}
	_, h, ok := p.valueRule(p.Instance)
	if !ok {
		return // instance reports this
	}
	if !h.path {
		r.errorf(key, "%q is known only if the instance %s names a path", template, p.Instance)
		return
	}
	dir, own := templateDir(template)
	switch {
	case own && !h.writable:
		r.errorf(key, "the process cannot write %q: the value of %s must be {path:rw}", template, p.Instance)
	case !own && template[:len(dirHole)] == dirHole:
		r.errorf(key, "%q must lie in %s itself: no other directory is mounted", template, dirHole)
	case !own && !p.canWrite(dir):
		r.errorf(key, "the process cannot write %q: add %q to mounts", template, path.Join(stateHole, dir)+":rw")
	}
}

const (
	dirHole  = "{dir}"
	stemHole = "{stem}"
)

// location is the place of a path that an argument names.
type location struct {
	document.File
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
func (l location) expand(template string) (document.File, error) {
	base := path.Base(l.Path)
	stem := strings.TrimSuffix(base, path.Ext(base))
	if stem == "" && strings.Contains(template, stemHole) {
		return document.File{}, errors.New("its file's name must have something before the extension")
	}
	absolute := strings.NewReplacer(stateHole, l.Root, dirHole, l.dir, stemHole, stem).Replace(template)
	if reason := checkPath(absolute); reason != "" {
		return document.File{}, fmt.Errorf("it makes %s, which is not accepted: %s", cut(absolute), reason)
	}
	rel, ok := beneath(l.Root, absolute)
	if !ok {
		return document.File{}, fmt.Errorf("it makes %s, which is outside of %s", cut(absolute), l.Root)
	}
	return document.File{Root: l.Root, Path: rel}, nil
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
