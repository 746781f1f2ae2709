package systemd

import (
	"slices"
	"strings"
)

// exPropertiesFrom is the first systemd that can read what it writes of
// ExecStartEx and its like. Those before write that name into the file of the
// transient unit, do not know it when they read the file again, and so after any
// daemon-reload the unit has no commands any more, not even those that clean up.
// (systemd commit 0a27d86a3f, in v254; seen on 252.)
const exPropertiesFrom = 254

// plainCommand is (sasb): path, arguments, and whether a failure is ignored.
type plainCommand struct {
	Path          string
	Argv          []string
	IgnoreFailure bool
}

// inDialect says properties in the way that this version of systemd understands
// for good.
func inDialect(version int, properties []Property) []Property {
	if version >= exPropertiesFrom {
		return properties
	}
	translated := make([]Property, 0, len(properties))
	for _, p := range properties {
		if list, ok := p.Value.Value().([]command); ok {
			p = property(strings.TrimSuffix(p.Name, "Ex"), plainCommands(list))
		}
		translated = append(translated, p)
	}
	return translated
}

// plainCommands doubles dollar signs, as these commands have variables expanded:
// systemd.service(5).
func plainCommands(list []command) []plainCommand {
	plain := make([]plainCommand, 0, len(list))
	for _, c := range list {
		argv := make([]string, 0, len(c.Argv))
		for _, arg := range c.Argv {
			argv = append(argv, strings.ReplaceAll(arg, "$", "$$"))
		}
		plain = append(plain, plainCommand{c.Path, argv, slices.Contains(c.Flags, flagIgnoreFailure)})
	}
	return plain
}
