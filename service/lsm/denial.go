package lsm

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Launch is what a denial must concern to be told to who asked for a launch.
type Launch struct {
	Program string // the payload's, its path
	Level   string // the SELinux level of the payload
}

// engines are the programs that start a payload, as a denial names them.
var engines = []string{"sidecar-launch", "sidecar-init", "podman", "conmon", "crun", "runc", "netavark"}

// field is one of a denial: name="value" or name=value.
var field = regexp.MustCompile(`(\w+)=("[^"]*"|\S+)`)

// permissions are what SELinux denied.
var permissions = regexp.MustCompile(`avc: +denied +\{ ([a-z0-9_ ]+) \}`)

// Denials returns what the kernel's lines say was denied to a launch, in words, each once,
// at most limit. A line of another sidecar's payload is left out, and so is every name of
// a file: who asked may be an agent.
func Denials(lines []string, launch Launch, limit int) []string {
	var denials []string
	for _, line := range lines {
		if text := denialOf(line, launch); text != "" && !slices.Contains(denials, text) {
			denials = append(denials, text)
		}
	}
	return denials[max(0, len(denials)-limit):]
}

// denialOf returns a line in words, or nothing if it is none of the launch. A program names
// itself (prctl(2)), so a name counts for an engine only in a context that no payload has.
func denialOf(line string, launch Launch) string {
	fields := map[string]string{}
	for _, match := range field.FindAllStringSubmatch(line, -1) {
		fields[match[1]] = strings.Trim(match[2], `"`)
	}
	program := fields["comm"]
	isEngine, isPayload := slices.Contains(engines, program), program == comm(launch.Program)
	if match := permissions.FindStringSubmatch(line); match != nil && fields["permissive"] != "1" {
		source, level := splitContext(fields["scontext"])
		target, _ := splitContext(fields["tcontext"])
		if isEngine && !strings.Contains(level, ":") || isPayload && level == launch.Level {
			return fmt.Sprintf("SELinux denied %s to %s: %s of a %s that is %s", program, source, match[1], fields["tclass"], target)
		}
	}
	if fields["apparmor"] == "DENIED" && (isEngine || isPayload) {
		return fmt.Sprintf("AppArmor denied %s to %s, which has the profile %s", fields["operation"], program, fields["profile"])
	}
	return ""
}

// comm is how the kernel names a program: the first 15 bytes of its file's name.
func comm(program string) string {
	name := path.Base(program)
	return name[:min(len(name), 15)]
}

// splitContext returns the type and the level of user:role:type:level. The level of a
// process may be a range; a payload's is none.
func splitContext(context string) (kind, level string) {
	parts := strings.SplitN(context, ":", 4)
	if len(parts) < 4 {
		return context, ""
	}
	return parts[2], strings.TrimSuffix(parts[3], "-s0:c0.c1023")
}
