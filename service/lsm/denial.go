package lsm

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Launch tells which denials belong to a launch.
type Launch struct {
	Program string // path of the payload's program
	Level   string // SELinux level of the payload
}

// engines are the programs that start a payload, by their names in a denial.
var engines = []string{"sidecar-launch", "podman", "conmon", "crun", "runc", "netavark"}

var (
	// field is a field of a denial: name="value" or name=value.
	field = regexp.MustCompile(`(\w+)=("[^"]*"|\S+)`)
	// permissions are the permissions that SELinux denied.
	permissions = regexp.MustCompile(`avc: +denied +\{ ([a-z0-9_ ]+) \}`)
	// word is a value that is safe to show: parts of a kernel's line can be anybody's text,
	// such as the prefix of a packet filter's log.
	word = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)
)

// Denials returns the last denials of a launch in the kernel's lines, in words, each
// once, at most limit. SELinux's denials of another agent's payload are left out.
// AppArmor has one profile for all sidecars, so its denials may be of another sidecar
// with the same program. Names of files are left out: the caller may be an agent.
func Denials(lines []string, launch Launch, limit int) []string {
	var denials []string
	for _, line := range lines {
		if text := denialOf(line, launch); text != "" && !slices.Contains(denials, text) {
			denials = append(denials, text)
		}
	}
	return denials[max(0, len(denials)-limit):]
}

// denialOf returns a line in words, or "" if it is not a denial of the launch. A process
// can change its name (prctl(2)), so an engine's name counts only in a context that no
// payload has.
func denialOf(line string, launch Launch) string {
	fields := map[string]string{}
	for _, match := range field.FindAllStringSubmatch(line, -1) {
		fields[match[1]] = strings.Trim(match[2], `"`)
	}
	program, _, _ := strings.Cut(fields["comm"], ":") // runc has processes called runc:[2:INIT]
	if !word.MatchString(program) {
		program = "a program"
	}
	isEngine := slices.Contains(engines, program)
	if match := permissions.FindStringSubmatch(line); match != nil && fields["permissive"] != "1" {
		source, level := splitContext(fields["scontext"])
		target, _ := splitContext(fields["tcontext"])
		if !word.MatchString(source) || !word.MatchString(target) || !word.MatchString(fields["tclass"]) {
			return ""
		}
		if level == launch.Level || isEngine && !strings.Contains(level, ":") {
			return fmt.Sprintf("SELinux denied %s to %s: %s of a %s that is %s", program, source, match[1], fields["tclass"], target)
		}
		return ""
	}
	if fields["apparmor"] != "DENIED" || !word.MatchString(fields["operation"]) {
		return ""
	}
	ours := slices.Contains(strings.Split(fields["profile"], "//&"), Profile)
	switch {
	case ours && (isEngine || program == comm(launch.Program)):
		return fmt.Sprintf("AppArmor denied %s to a sidecar's %s on this host", fields["operation"], program)
	case !ours && isEngine:
		return fmt.Sprintf("AppArmor denied %s to %s on this host", fields["operation"], program)
	}
	return ""
}

// comm returns the kernel's name for a program: the first 15 bytes of its file's name.
func comm(program string) string {
	name := path.Base(program)
	return name[:min(len(name), 15)]
}

// splitContext returns the type and the level of user:role:type:level. A payload's level
// is never a range.
func splitContext(context string) (kind, level string) {
	parts := strings.SplitN(context, ":", 4)
	if len(parts) < 4 {
		return "", ""
	}
	return parts[2], strings.TrimSuffix(parts[3], "-s0:c0.c1023")
}
