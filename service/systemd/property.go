package systemd

import (
	"time"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// Property is one property of a transient unit. One that the running systemd does
// not know fails the whole start: ask [Conn.Version] before using any that is
// newer than the oldest systemd that is to be supported.
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

// Duration is a property of type t in microseconds, such as TimeoutStartUSec. A
// negative duration is none: systemd's "infinity".
func Duration(name string, v time.Duration) Property {
	if v < 0 {
		return property(name, ^uint64(0))
	}
	return property(name, uint64(v.Microseconds()))
}

// Flags of a command, from exec_command_flags_to_strv in systemd's
// exec-util.c.
const (
	flagIgnoreFailure = "ignore-failure"
	flagNoEnvExpand   = "no-env-expand"
)

// command is (sasas): the path, the arguments from the zeroth on, the flags.
type command struct {
	Path  string
	Argv  []string
	Flags []string
}

func commands(name string, argvs [][]string, flags ...string) Property {
	list := make([]command, 0, len(argvs))
	for _, argv := range argvs {
		c := command{Argv: append([]string{}, argv...), Flags: flags}
		if len(argv) > 0 {
			c.Path = argv[0]
		}
		list = append(list, c)
	}
	return property(name, list)
}

// ExecStart is the command of the service, an absolute path and its arguments,
// which are passed as they are: no variables are expanded in them.
//
// systemd before 254 does not keep '$' and ';' in arguments over a daemon-reload:
// the next process of the same unit, started by Restart= or as ExecStopPost=, gets
// them with a backslash in front. What must survive that may not contain them; in
// JSON they can be written as \u0024 and \u003b. Environment= is kept as it is.
func ExecStart(argv []string) Property {
	return commands("ExecStartEx", [][]string{argv}, flagNoEnvExpand)
}

// ExecStopPost are commands that run whenever the service has ended. Their failure
// is ignored. Arguments are as in [ExecStart].
func ExecStopPost(argvs ...[]string) Property {
	return commands("ExecStopPostEx", argvs, flagIgnoreFailure, flagNoEnvExpand)
}

// statusSet is (aiai): exit codes and signals.
type statusSet struct {
	Codes   []int32
	Signals []int32
}

// SuccessExitStatus are exit codes that count as success, besides 0.
func SuccessExitStatus(codes ...int32) Property {
	return property("SuccessExitStatus", statusSet{append([]int32{}, codes...), []int32{}})
}

// LogExtraFields are fields, as NAME=value, of all journal entries of the unit.
func LogExtraFields(fields ...string) Property {
	list := make([][]byte, 0, len(fields))
	for _, f := range fields {
		list = append(list, []byte(f))
	}
	return property("LogExtraFields", list)
}
