package main

import (
	"slices"
	"strings"
)

// call says where a call in a program's name goes.
type call int

const (
	toService call = iota // a launch
	toReal                // the real program, in the agent's own container
	toStop                // a stop of what was launched before
)

// program is what is known of the command line of one of the programs that the
// shim stands in for. Its profile has the same name.
type program struct {
	// only is an argument without which no call is a launch, or nothing.
	only string
	// real are arguments with which a call is for the real program: probes, and
	// clients of a control socket.
	real []string
	// stop is a first argument that means the opposite of a launch, or nothing.
	stop string
	// reloads says that on SIGHUP it reads its files again. What else gets one
	// ends: conntrackd has no handler for it (its src/run.c).
	reloads bool
	// byHand says that only a person links it: no profile for it is shipped, and the
	// link would take the place of a program that works.
	byHand bool
}

// programs are the names that the shim stands in for. The options are those of
// the manual pages; a value of Neutron's is never equal to one of them, because
// its paths are absolute.
var programs = map[string]program{
	"dnsmasq":    {real: []string{"-v", "--version", "-w", "--help", "--test"}, reloads: true},
	"haproxy":    {real: []string{"-v", "-vv", "-c", "-cc", "-h", "--help", "--version"}, reloads: true},
	"keepalived": {real: []string{"-v", "--version", "-h", "--help", "-t", "--config-test", "--signum"}, reloads: true},
	"radvd":      {real: []string{"-v", "--version", "-h", "--help", "-c", "--configtest"}, reloads: true},
	// Without -d it is a client of a running one's control socket, or an error.
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

// scripts are the names of Neutron's kill scripts, each with the programs whose
// processes it may signal (neutron.agent.linux.external_process: the service's
// name and "-kill"). "default-service" is the name of every process manager that names
// none (conntrackd, keepalived's VRRP child): its script may signal
// any process, as kill(1) does, which Neutron takes without a script.
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
	case p.only != "" && !slices.Contains(args, p.only):
		return toReal
	case slices.ContainsFunc(args, p.isReal):
		return toReal
	}
	return toService
}

// isReal reports whether the argument makes the call one for the real program.
func (p program) isReal(arg string) bool {
	option, _, _ := strings.Cut(arg, "=")
	return slices.Contains(p.real, arg) || strings.HasPrefix(option, "--") && slices.Contains(p.real, option)
}
