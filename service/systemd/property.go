package systemd

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// Property is one property of a transient unit. A property that the running systemd does
// not know fails the whole start: use none that is newer than
// the oldest supported systemd.
type Property = sd.Property

func property(name string, v any) Property {
	return Property{Name: name, Value: dbus.MakeVariant(v)}
}

// String is a property of type s, such as Type, Slice or Description.
func String(name, v string) Property { return property(name, v) }

// Strings is a property of type as, such as Environment or After.
func Strings(name string, v ...string) Property { return property(name, append([]string{}, v...)) }

// Bool is a property of type b, such as Delegate.
func Bool(name string, v bool) Property { return property(name, v) }

// Int32 is a property of type i, such as OOMScoreAdjust.
func Int32(name string, v int32) Property { return property(name, v) }

// Uint32 is a property of type u, such as LogRateLimitBurst.
func Uint32(name string, v uint32) Property { return property(name, v) }

// Uint64 is a property of type t, such as MemoryMax or TasksMax.
func Uint64(name string, v uint64) Property { return property(name, v) }

// Duration is a property of type t in microseconds, such as TimeoutStartUSec. A negative
// duration is systemd's "infinity".
func Duration(name string, v time.Duration) Property {
	if v < 0 {
		return Uint64(name, ^uint64(0))
	}
	return Uint64(name, uint64(v.Microseconds()))
}

// command is (sasb): the path, the arguments from the zeroth on, whether a failure is ignored.
// The newer property ExecStartEx can turn off the expansion of variables, but systemd before
// 254 does not read it back from the file of a transient unit: after a daemon-reload the unit
// has no commands (systemd commit 0a27d86a3f; seen on 252).
type command struct {
	Path          string
	Argv          []string
	IgnoreFailure bool
}

// commands doubles dollar signs, because systemd expands variables in commands
// (systemd.service(5)).
func commands(name string, argvs [][]string, ignoreFailure bool) Property {
	list := make([]command, 0, len(argvs))
	for _, argv := range argvs {
		c := command{Argv: []string{}, IgnoreFailure: ignoreFailure}
		if len(argv) > 0 {
			c.Path = argv[0]
		}
		for _, arg := range argv {
			c.Argv = append(c.Argv, strings.ReplaceAll(arg, "$", "$$"))
		}
		list = append(list, c)
	}
	return property(name, list)
}

// ExecStart is the command of the service, an absolute path and its arguments.
//
// systemd before 254 does not keep '$' and ';' in arguments over a daemon-reload: the next
// process of the same unit, started by Restart= or as ExecStopPost=, gets them with a
// backslash in front. Environment= is kept as it is.
func ExecStart(argv ...string) Property { return commands("ExecStart", [][]string{argv}, false) }

// ExecStopPost are commands that run whenever the service has ended, with arguments as in
// [ExecStart]. Their failure is ignored.
func ExecStopPost(argvs ...[]string) Property { return commands("ExecStopPost", argvs, true) }

// statusSet is (aiai): exit codes and signals.
type statusSet struct {
	Codes   []int32
	Signals []int32
}

// SuccessExitStatus are exit codes that count as success, besides 0, and signals that do so.
func SuccessExitStatus(codes, signals []int32) Property {
	return property("SuccessExitStatus", statusSet{append([]int32{}, codes...), append([]int32{}, signals...)})
}

// RestartForceExitStatus are exit codes and signals after which the service is started again,
// whatever Restart= says.
func RestartForceExitStatus(codes, signals []int32) Property {
	return property("RestartForceExitStatus", statusSet{append([]int32{}, codes...), append([]int32{}, signals...)})
}

// LogExtraFields are fields, NAME=value, of all journal entries of the unit.
func LogExtraFields(fields ...string) Property {
	list := make([][]byte, 0, len(fields))
	for _, f := range fields {
		list = append(list, []byte(f))
	}
	return property("LogExtraFields", list)
}

// Format is the value of a property for people, in the syntax of systemd.unit(5).
func Format(p Property) string {
	switch v := p.Value.Value().(type) {
	case string:
		return v
	case bool:
		if v {
			return "yes"
		}
		return "no"
	case uint64:
		return formatNumber(p.Name, v)
	case []string:
		return quoteAll(v)
	case [][]byte:
		words := make([]string, len(v))
		for i, field := range v {
			words[i] = string(field)
		}
		return quoteAll(words)
	case []command:
		return formatCommands(v)
	case statusSet:
		words := strings.Fields(strings.Trim(fmt.Sprint(v.Codes), "[]"))
		for _, signal := range v.Signals {
			words = append(words, unix.SignalName(unix.Signal(signal)))
		}
		return strings.Join(words, " ")
	}
	return fmt.Sprint(p.Value.Value())
}

func formatNumber(name string, v uint64) string {
	switch {
	case v == ^uint64(0):
		return "infinity"
	case strings.HasSuffix(name, "USec") && v < 1<<50:
		return formatSpan(v)
	}
	return strconv.FormatUint(v, 10)
}

// formatSpan writes microseconds as systemctl does (systemd.time(7)).
func formatSpan(usec uint64) string {
	if usec == 0 {
		return "0"
	}
	var words []string
	for _, unit := range []struct {
		name string
		size uint64
	}{{"w", 7 * 24 * 3600e6}, {"d", 24 * 3600e6}, {"h", 3600e6}, {"min", 60e6}, {"s", 1e6}, {"ms", 1e3}, {"us", 1}} {
		if n := usec / unit.size; n > 0 {
			words, usec = append(words, strconv.FormatUint(n, 10)+unit.name), usec%unit.size
		}
	}
	return strings.Join(words, " ")
}

// formatCommands uses the prefix of systemd.service(5).
func formatCommands(list []command) string {
	words := make([]string, 0, len(list))
	for _, c := range list {
		prefix := ""
		if c.IgnoreFailure {
			prefix = "-"
		}
		words = append(words, prefix+quoteAll(c.Argv))
	}
	return strings.Join(words, " ; ")
}

func quoteAll(words []string) string {
	quoted := make([]string, 0, len(words))
	for _, w := range words {
		quoted = append(quoted, quote(w))
	}
	return strings.Join(quoted, " ")
}

// quote does not change plain words, so that most command lines read as typed.
func quote(word string) string {
	special := func(r rune) bool {
		return r <= ' ' || r == '"' || r == '\'' || r == '\\' || r == ';' || !strconv.IsPrint(r)
	}
	if word != "" && strings.IndexFunc(word, special) < 0 {
		return word
	}
	return strconv.Quote(word)
}
