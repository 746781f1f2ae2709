package document

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/netns"
)

// MaxMounts and MaxPIDFiles bound the mounts and pid files of a document.
const (
	MaxMounts   = 64
	MaxPIDFiles = 16
	maxPath     = 4095 // PATH_MAX without its NUL
	maxTemplate = 64
)

// Validate checks the syntax of a document's id, names and paths, and how many it has: the core
// writes documents, and root reads them.
func (d *Document) Validate() error {
	if name := d.NetworkNamespace(); name != "" {
		if err := netns.ValidName(name); err != nil {
			return fmt.Errorf("document: network namespace %.300q: %v", name, err)
		}
	}
	return d.validate()
}

func (p Plan) validate() error {
	if _, err := interfaces.ParseID(p.ID); err != nil {
		return fmt.Errorf("document: id %v", err)
	}
	for name, file := range map[string]string{"program": p.Program, "runtime": p.Runtime, "init": p.Init, "seccomp": p.Seccomp, "syslog": p.Syslog} {
		if file != "" && !absolute(file) {
			return fmt.Errorf("document: %s %.200q is not an absolute, clean path", name, file)
		}
	}
	if p.Engine != "" && p.Program == "" {
		return errors.New("document: program is missing")
	}
	if strings.Trim(p.Template, "0123456789abcdef") != "" || len(p.Template) > maxTemplate {
		return fmt.Errorf("document: template %.40q is not at most %d hexadecimal digits", p.Template, maxTemplate)
	}
	if p.PIDNamespace != Private && p.PIDNamespace != Host {
		return fmt.Errorf("document: pidNamespace %.40q is neither %q nor %q", p.PIDNamespace, Private, Host)
	}
	if p.Daemonizes() && p.PIDNamespace != Private {
		return errors.New("document: a payload that leaves the foreground needs a pid namespace of its own")
	}
	if len(p.Mounts) > MaxMounts || len(p.PIDFiles) > MaxPIDFiles {
		return fmt.Errorf("document: %d mounts and %d pid files, %d and %d are allowed",
			len(p.Mounts), len(p.PIDFiles), MaxMounts, MaxPIDFiles)
	}
	if l := p.Links; l != nil && !slices.Contains([]string{LinksCheck, LinksWarn, LinksRefuse}, l.Action) {
		return fmt.Errorf("document: links: action %.40q is none of %s, %s, %s", l.Action, LinksCheck, LinksWarn, LinksRefuse)
	}
	return errors.Join(p.validateMounts(), p.validateFiles(), p.Health.validate())
}

// validate accepts nil.
func (h *Health) validate() error {
	if h == nil {
		return nil
	}
	ways := 0
	for _, given := range []bool{len(h.Command) > 0, h.TCP != "", h.UDP != "", h.Unix != ""} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		return fmt.Errorf("document: health has %d of command, tcp, udp and unix, one is allowed", ways)
	}
	if h.IntervalUSec <= 0 || h.TimeoutUSec <= 0 || h.Failures <= 0 {
		return errors.New("document: health: intervalUSec, timeoutUSec and failures must be positive")
	}
	for name, address := range map[string]string{"tcp": h.TCP, "udp": h.UDP} {
		if _, err := netip.ParseAddrPort(address); address != "" && err != nil {
			return fmt.Errorf("document: health: %s %.100q is not ADDRESS:PORT", name, address)
		}
	}
	if h.Unix != "" && !absolute(h.Unix) || len(h.Command) > 0 && !absolute(h.Command[0]) {
		return fmt.Errorf("document: health: %.200q is not an absolute, clean path", cmp.Or(h.Unix, strings.Join(h.Command, " ")))
	}
	return nil
}

func (p Plan) validateMounts() error {
	for i, m := range p.Mounts {
		if !m.valid() {
			return fmt.Errorf("document: mount %d: %.200q beneath %.200q is not a clean path", i, m.Path, m.Root)
		}
		if m.Given && (!m.Writable || m.Private) {
			return fmt.Errorf("document: mount %d: %.200q is given, so it must be writable and not private", i, m.Path)
		}
	}
	return nil
}

func (m Mount) valid() bool {
	if m.Root == "" {
		return absolute(m.Path) && !m.Private && (m.Target == "" || absolute(m.Target))
	}
	return absolute(m.Root) && beneath(m.Path) && m.Target == ""
}

func (p Plan) validateFiles() error {
	files := p.Files()
	if p.Configuration != nil {
		files = append(files, p.Configuration.File)
		if p.Configuration.PIDFile != "" && len(p.PIDFiles) == 0 {
			return errors.New("document: the configuration must name a pid file, and none is waited for")
		}
	}
	for _, f := range files {
		if !absolute(f.Root) || !beneath(f.Path) || f.Path == "." {
			return fmt.Errorf("document: file %.200q beneath %.200q is not a clean path", f.Path, f.Root)
		}
	}
	return nil
}

// Files returns every file that the payload makes.
func (p Plan) Files() []File {
	if p.Socket == nil {
		return p.PIDFiles
	}
	return append(p.PIDFiles[:len(p.PIDFiles):len(p.PIDFiles)], *p.Socket)
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
