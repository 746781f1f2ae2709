package launch

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"tripleo.io/sidecar/service/netns"
)

// service/policy refuses with a reason what would have more mounts or pid files
// than these; its maxMounts and maxPIDFiles are the same numbers.
const (
	maxMounts = 64
	maxFiles  = 16
	maxPath   = 4095 // PATH_MAX without its NUL
)

// Validate says what is wrong with a plan: the syntax of its id and names,
// paths that are not clean, too many of them. It looks at no file.
func (p Plan) Validate() error {
	if !validID(p.ID) {
		return fmt.Errorf("plan: id %.100q is not AGENT.PROFILE.HASH, HASH being 12 hexadecimal digits", p.ID)
	}
	if p.NetworkNamespace != "" {
		if err := netns.ValidName(p.NetworkNamespace); err != nil {
			return fmt.Errorf("plan: network namespace %.300q: %v", p.NetworkNamespace, err)
		}
	}
	if p.PIDNamespace != Private && p.PIDNamespace != Host {
		return fmt.Errorf("plan: pidNamespace %.40q is neither %q nor %q", p.PIDNamespace, Private, Host)
	}
	if p.Daemonizes && p.PIDNamespace != Private {
		return fmt.Errorf("plan: what daemonizes needs a pid namespace of its own")
	}
	if len(p.Mounts) > maxMounts || len(p.PIDFiles) > maxFiles {
		return fmt.Errorf("plan: %d mounts and %d pid files, %d and %d are allowed",
			len(p.Mounts), len(p.PIDFiles), maxMounts, maxFiles)
	}
	return errors.Join(p.validatePaths(), p.Links.validate())
}

func (p Plan) validatePaths() error {
	for i, m := range p.Mounts {
		if !m.valid() {
			return fmt.Errorf("plan: mount %d: %.200q beneath %.200q is not a clean path", i, m.Path, m.Root)
		}
		if m.Given && (!m.Writable || m.Private) {
			return fmt.Errorf("plan: mount %d: %.200q is given, so it must be writable and not private", i, m.Path)
		}
	}
	files := p.files()
	if p.Configuration != nil {
		files = append(files, p.Configuration.File)
		if p.Configuration.PIDFile != "" && len(p.PIDFiles) == 0 {
			return errors.New("plan: the configuration must name a pid file, and none is waited for")
		}
	}
	for _, f := range files {
		if !absolute(f.Root) || !beneath(f.Path) || f.Path == "." {
			return fmt.Errorf("plan: file %.200q beneath %.200q is not a clean path", f.Path, f.Root)
		}
	}
	return nil
}

// files returns every file that the payload makes.
func (p Plan) files() []File {
	if p.Socket == nil {
		return p.PIDFiles
	}
	return append(p.PIDFiles[:len(p.PIDFiles):len(p.PIDFiles)], *p.Socket)
}

func (m Mount) valid() bool {
	if m.Root == "" {
		return absolute(m.Path) && !m.Private && (m.Target == "" || absolute(m.Target))
	}
	return absolute(m.Root) && beneath(m.Path) && m.Target == ""
}

func absolute(s string) bool {
	return strings.HasPrefix(s, "/") && s != "/" && clean(s)
}

func beneath(s string) bool {
	return !strings.HasPrefix(s, "/") && s != ".." && !strings.HasPrefix(s, "../") && clean(s)
}

func clean(s string) bool {
	return s != "" && len(s) <= maxPath && path.Clean(s) == s && !strings.Contains(s, "\x00")
}

// validID takes the shape that the service gives an id (AGENT.PROFILE.HASH).
// It is one harmless component of a path.
func validID(id string) bool {
	parts := strings.Split(id, ".")
	return len(parts) == 3 && validWord(parts[0]) && validWord(parts[1]) &&
		len(parts[2]) == 12 && strings.Trim(parts[2], "0123456789abcdef") == ""
}

func validWord(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789-"
	return s != "" && len(s) <= 32 && s[0] != '-' && strings.Trim(s, letters) == ""
}
