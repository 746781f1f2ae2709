package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// call is where a call in a program's name goes.
type call int

const (
	toService call = iota // a launch
	toReal                // the real program, in the agent's own container
	toStop                // a stop of an earlier launch
)

// program describes the command line of a program that the shim stands in for. Its
// profile has the same name.
type program struct {
	// only is an argument that every launch has, or "".
	only string
	// real are arguments with which a call is for the real program: probes, and
	// clients of a control socket.
	real []string
	// stop is the first argument of a stop, or "".
	stop string
	// reloads says that the program reads its files again on SIGHUP. Other programs
	// end: conntrackd has no handler for it (its src/run.c).
	reloads bool
	// byHand says that only a person makes the link: no profile is shipped, and the
	// link would replace a program that works.
	byHand bool
}

// programs are the names that the shim stands in for. The options are from the
// manual pages; Neutron's values are never equal to one, because its paths are absolute.
var programs = map[string]program{
	"dnsmasq":    {real: []string{"-v", "--version", "-w", "--help", "--test"}, reloads: true},
	"haproxy":    {real: []string{"-v", "-vv", "-c", "-cc", "-h", "--help", "--version"}, reloads: true},
	"keepalived": {real: []string{"-v", "--version", "-h", "--help", "-t", "--config-test", "--signum"}, reloads: true},
	"radvd":      {real: []string{"-v", "--version", "-h", "--help", "-c", "--configtest"}, reloads: true},
	// Without -d it is a client of the control socket of a running conntrackd, or an error.
	"conntrackd": {
		only: "-d",
		real: []string{"-n", "-k", "-c", "-f", "-F", "-R", "-B", "-t", "-s", "-i", "-e", "-x", "-v", "-V", "-h"},
	},
	// "run", "status" and the rest stay in the agent's container.
	"dibbler-client": {only: "start", stop: "stop"},
	"neutron-keepalived-state-change": {
		real:   []string{"-h", "--help", "--version", "-v"},
		byHand: true,
	},
}

// scripts are the names of Neutron's kill scripts (neutron.agent.linux.external_process:
// the service's name and "-kill"), each with the programs that it may signal. Every
// process manager without a service name (conntrackd, keepalived's VRRP child) uses
// default-service-kill, which may signal any process, as kill(1) without a script.
var scripts = map[string][]string{
	"dnsmasq-kill":    {"dnsmasq"},
	"haproxy-kill":    {"haproxy"},
	"keepalived-kill": {"keepalived"},
	"radvd-kill":      {"radvd"},
	"neutron-keepalived-state-change-monitor-kill": {"neutron-keepalived-state-change"},
	"default-service-kill":                         nil,
	"dibbler-kill":                                 {"dibbler-client"},
}

// what says where a call with these arguments goes.
func (p program) what(args []string) call {
	switch {
	case p.stop != "" && len(args) > 0 && args[0] == p.stop:
		return toStop
	case p.only != "" && !slices.Contains(args, p.only), slices.ContainsFunc(args, p.isReal):
		return toReal
	}
	return toService
}

// isReal reports whether the argument makes the call one for the real program.
func (p program) isReal(arg string) bool {
	option, _, _ := strings.Cut(arg, "=")
	return slices.Contains(p.real, arg) || strings.HasPrefix(option, "--") && slices.Contains(p.real, option)
}

// guardVariable is set for the real program to NAME:PID of its caller. If a shim finds
// its own name there, with its own process or its parent, the search went in a circle.
const guardVariable = "SIDECAR_SHIM_REAL"

// errNoProgram means the same as the shell's exit code 127.
var errNoProgram = errors.New("command not found")

// execReal becomes the real program of this name. It returns only with an error.
func execReal(name string, args []string) error {
	if isGuarded(os.Getenv(guardVariable), name, os.Getpid(), os.Getppid()) {
		return fmt.Errorf("the %s that was called as the real program leads to sidecar-shim again; make the shims links to one file, and name the directory of the real programs in %s", name, settingsFile)
	}
	s, err := readSettings(settingsFile)
	if err != nil {
		return err
	}
	path, err := findReal(name, s.Programs)
	if err != nil {
		return err
	}
	environment := append(os.Environ(), guardVariable+"="+name+":"+strconv.Itoa(os.Getpid()))
	err = syscall.Exec(path, append([]string{name}, args...), environment)
	return fmt.Errorf("%s: %w", path, err)
}

// isGuarded reports whether the guard was set by a shim of this name that became,
// or started, process pid.
func isGuarded(guard, name string, pid, parent int) bool {
	by, number, ok := strings.Cut(guard, ":")
	return ok && by == name && (number == strconv.Itoa(pid) || number == strconv.Itoa(parent))
}

// findReal returns the first program of this name in the directories that is not
// this one under another name.
func findReal(name string, directories []string) (string, error) {
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		return "", err
	}
	shims := 0
	for _, directory := range directories {
		path := filepath.Join(directory, name)
		info, err := os.Stat(path)
		switch {
		case err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0:
		case os.SameFile(self, info):
			shims++
		default:
			return path, nil
		}
	}
	where := strings.Join(directories, ", ")
	if shims > 0 {
		where += fmt.Sprintf(" (%d of which hold the shim itself)", shims)
	}
	return "", fmt.Errorf("this call is for the real %s, which does not exist in %s; put it into /usr/libexec/sidecar/real, or name its directory in %s (%w)", name, where, settingsFile, errNoProgram)
}
