package twin

import (
	"context"
	"errors"
	"strings"
	"testing"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/systemd"
)

// twinCase is a request, in the state of the host in which it comes.
type twinCase struct {
	name string
	request
	prepare func(t *testing.T, h *host) // before the call; nil: nothing is there
	want    string                      // name of the error without the interface, for root and for who is let in; "" is none
	only    []caller                    // nil: root, an operator, and the agent neutron-dhcp
}

// cases are all that is compared, but for who is let in.
func cases() []twinCase {
	var all []twinCase
	for method, some := range map[string][]twinCase{
		"Launch": launchCases(), "Explain": decisionCases(), "List": listCases(), "Stop": stopCases(),
		"Signal": signalCases(), "ListProfiles": profileCases(), "Monitor": monitorCases(), "ReadLog": readLogCases(),
	} {
		for _, c := range some {
			c.method = method
			all = append(all, c)
		}
	}
	return all
}

// dnsmasq is a launch of the network's DHCP server for the agent neutron-dhcp.
func dnsmasq(change ...func(*interfaces.LaunchParameters)) interfaces.LaunchParameters {
	p := interfaces.LaunchParameters{
		Profile: "dnsmasq", Agent: new("neutron-dhcp"), NetworkNamespace: new("qdhcp-1"),
		Arguments: []string{"--no-hosts", "--pid-file=/var/lib/neutron/dhcp/1/pid"},
	}
	for _, f := range change {
		f(&p)
	}
	return p
}

// pocketed is one for the agent pocket, which has stand-ins.
func pocketed(network string, change ...func(*interfaces.LaunchParameters)) interfaces.LaunchParameters {
	p := interfaces.LaunchParameters{
		Profile: "dnsmasq", Agent: new("pocket"), NetworkNamespace: new("qdhcp-" + network),
		Arguments: []string{"--pid-file=/var/lib/pocket/" + network + "/pid"},
	}
	for _, f := range change {
		f(&p)
	}
	return p
}

// Sidecars: of dnsmasq and of pocketed, and one that is never there.
var (
	here   = interfaces.NewID("neutron-dhcp", "dnsmasq", "/var/lib/neutron/dhcp/1/pid")
	other  = interfaces.NewID("pocket", "dnsmasq", "/var/lib/pocket/1/pid")
	absent = interfaces.NewID("neutron-dhcp", "dnsmasq", "/somewhere/else")
)

func launchOf(name, want string, p interfaces.LaunchParameters, prepare ...func(*testing.T, *host)) twinCase {
	return twinCase{name: name, request: request{parameters: p}, want: want, prepare: together(prepare)}
}

func together(all []func(*testing.T, *host)) func(*testing.T, *host) {
	return func(t *testing.T, h *host) {
		for _, f := range all {
			f(t, h)
		}
	}
}

func launchCases() []twinCase {
	mode := func(m interfaces.LaunchMode) func(*interfaces.LaunchParameters) {
		return func(p *interfaces.LaunchParameters) { p.Mode = &m }
	}
	replaces := func(invocation string) func(*interfaces.LaunchParameters) {
		return func(p *interfaces.LaunchParameters) { p.Replaces = &invocation }
	}
	tagged := func(p *interfaces.LaunchParameters) { p.ProcessTag = new("haproxy-1") }
	soon := func(p *interfaces.LaunchParameters) { p.TimeoutUSec = new(int64(1_000_000)) }
	rootOnly := []caller{root}
	overloaded := launchOf("waits too long", "Overloaded", dnsmasq(soon), stuck)
	overloaded.only = rootOnly // it takes a second
	asked := launchOf("too many questions", "Overloaded", dnsmasq(), crowded)
	asked.only = []caller{operator}
	return append(
		decisionCases(),
		launchOf("replaces", "", dnsmasq(tagged), running),
		launchOf("replaces another run", "NoSuchSidecar", dnsmasq(mode(interfaces.ModeReplace), replaces("0123456789abcdef0123456789abcdef")), running),
		launchOf("replaces nothing", "NoSuchSidecar", dnsmasq(mode(interfaces.ModeReplace), replaces("0123456789abcdef0123456789abcdef"))),
		launchOf("replaces what failed", "", dnsmasq(), failed),
		launchOf("keeps", "", dnsmasq(mode(interfaces.ModeKeep)), running),
		launchOf("keeps no other", "SidecarExists", dnsmasq(mode(interfaces.ModeKeep), tagged), running),
		launchOf("exists", "SidecarExists", dnsmasq(mode(interfaces.ModeFail)), running),
		launchOf("adopts", "", pocketed("1"), running),
		launchOf("too many", "TooManySidecars", pocketed("2"), running),
		launchOf("exits", "LaunchFailed", dnsmasq(), starting(systemd.FailedWith(3))),
		launchOf("out of memory", "LaunchFailed", dnsmasq(), starting(systemd.Outcome{Change: func(u *systemd.Unit) {
			u.ActiveState, u.Result, u.ExecMainCode, u.ExecMainStatus = "failed", "oom-kill", 1, 137
			u.StatusText = "Out of memory: limit of the profile"
		}})),
		launchOf("replaces what restarts", "", dnsmasq(), waiting),
		launchOf("keeps what restarts", "", dnsmasq(mode(interfaces.ModeKeep)), waiting),
		launchOf("keeps no other that restarts", "SidecarExists", dnsmasq(mode(interfaces.ModeKeep), tagged), waiting),
		launchOf("adopts nothing that restarts", "", dnsmasq(mode(interfaces.ModeAdopt)), waiting),
		launchOf("what restarts exists", "SidecarExists", dnsmasq(mode(interfaces.ModeFail)), waiting),
		launchOf("killed", "LaunchFailed", dnsmasq(), starting(systemd.FailedWith(137))),
		launchOf("not ready", "NotReady", dnsmasq(soon), starting(systemd.TimedOut())),
		launchOf("systemd does not start", "HostFailure", dnsmasq(), broken("Start")),
		launchOf("systemd does not stop", "HostFailure", dnsmasq(), running, broken("Stop")),
		launchOf("systemd does not answer", "HostFailure", dnsmasq(), broken("List")),
		launchOf("stopped while it starts", "LaunchStopped", dnsmasq(), interrupted),
		overloaded, asked,
	)
}

// decisionCases are decided in the same way for Launch and for Explain.
func decisionCases() []twinCase {
	with := func(name, want string, change func(*interfaces.LaunchParameters)) twinCase {
		return launchOf(name, want, dnsmasq(change))
	}
	type p = interfaces.LaunchParameters
	return []twinCase{
		launchOf("new", "", dnsmasq()),
		launchOf("stand-ins", "", pocketed("1")),
		with("everything", "", func(p *p) {
			p.Mode, p.ProcessTag, p.TimeoutUSec = new(interfaces.ModeReplace), new("dhcp-1"), new(int64(5_000_000))
		}),
		launchOf("own namespace", "", pocketed("1", func(p *p) { p.NetworkNamespace = nil })),
		with("own namespace not allowed", "NamespaceNotAllowed", func(p *p) { p.NetworkNamespace = nil }),
		launchOf("OCI runtime", "", pocketed("1", func(p *p) { p.Profile = "chosen" })),
		launchOf("probed", "", pocketed("1", func(p *p) { p.Profile = "probed" })),
		launchOf("no OCI runtime", "HostFailure", pocketed("1", func(p *p) { p.Profile = "strict" })),
		with("no agent", "InvalidParameter", func(p *p) { p.Agent = nil }),
		with("no agent's name", "InvalidParameter", func(p *p) { p.Agent = new("../x") }),
		with("unknown agent", "NoSuchAgent", func(p *p) { p.Agent = new("nobody") }),
		with("no profile's name", "InvalidParameter", func(p *p) { p.Profile = "" }),
		with("unknown profile", "NoSuchProfile", func(p *p) { p.Profile = "sshd" }),
		with("profile not granted", "NoSuchProfile", func(p *p) { p.Profile = "radvd" }),
		with("no such mode", "InvalidParameter", func(p *p) { p.Mode = new(interfaces.LaunchMode("Replace")) }),
		with("replaces without the mode", "InvalidParameter", func(p *p) { p.Replaces = new("0123456789abcdef0123456789abcdef") }),
		with("too short", "InvalidParameter", func(p *p) { p.TimeoutUSec = new(int64(0)) }),
		with("too long", "InvalidParameter", func(p *p) { p.TimeoutUSec = new(int64(1) << 62) }),
		with("argument", "ArgumentNotAllowed", func(p *p) { p.Arguments = append(p.Arguments, "--dhcp-script=/bin/sh") }),
		with("argument with everything", "ArgumentNotAllowed", func(p *p) { p.Arguments = append(p.Arguments, "--domain=a\nb\u00e9\u2028") }),
		with("argument missing", "ArgumentNotAllowed", func(p *p) { p.Arguments = []string{"--no-hosts"} }),
		with("no arguments", "ArgumentNotAllowed", func(p *p) { p.Arguments = []string{} }),
		with("another's namespace", "NamespaceNotAllowed", func(p *p) { p.NetworkNamespace = new("qrouter-1") }),
		with("no namespace's name", "InvalidParameter", func(p *p) { p.NetworkNamespace = new("../../etc") }),
		with("no such namespace", "NoSuchNetworkNamespace", func(p *p) { p.NetworkNamespace = new(missing) }),
		with("process tag", "InvalidParameter", func(p *p) { p.ProcessTag = new("a b\n") }),
	}
}

func listCases() []twinCase {
	list := func(name, want string, p interfaces.ListParameters, prepare func(*testing.T, *host)) twinCase {
		return twinCase{name: name, request: request{parameters: p}, want: want, prepare: prepare}
	}
	type p = interfaces.ListParameters
	return []twinCase{
		list("all", "", p{}, running),
		list("one", "", p{ID: new(here.String())}, running),
		list("failed", "", p{ID: new(here.String())}, failed),
		list("killed", "", p{ID: new(here.String())}, killed),
		list("restarted", "", p{ID: new(here.String())}, restarted),
		list("one with its usage", "", p{ID: new(here.String()), Usage: new(true)}, running),
		list("all with their usage", "", p{Usage: new(true)}, running),
		list("failed, without usage", "", p{Usage: new(true)}, failed),
		list("restarting", "", p{ID: new(here.String())}, waiting),
		list("out of memory", "", p{ID: new(here.String())}, outOfMemory),
		list("unhealthy", "", p{Agent: new("pocket")}, unhealthy),
		list("without a record", "", p{ID: new(here.String())}, unreadable),
		list("without a record, in a namespace", "NoSuchSidecar", p{NetworkNamespace: new("qdhcp-1"), Agent: new("neutron-dhcp")}, unreadable),
		list("of an agent", "", p{Agent: new("neutron-dhcp")}, running),
		list("of a profile", "", p{Profile: new("dnsmasq")}, running),
		list("in a namespace", "", p{NetworkNamespace: new("qdhcp-1")}, running),
		list("everything", "", p{ID: new(here.String()), Agent: new("neutron-dhcp"), Profile: new("dnsmasq"), NetworkNamespace: new("qdhcp-1")}, running),
		list("none at all", "NoSuchSidecar", p{}, nil),
		list("none matches", "NoSuchSidecar", p{NetworkNamespace: new("qdhcp-2")}, running),
		list("absent", "NoSuchSidecar", p{ID: new(absent.String())}, running),
		list("of an unknown agent", "NoSuchSidecar", p{Agent: new("nobody")}, running),
		list("no ID", "InvalidParameter", p{ID: new("a.b")}, running),
		list("no agent's name", "InvalidParameter", p{Agent: new("A")}, running),
		list("no profile's name", "InvalidParameter", p{Profile: new(strings.Repeat("a", 200))}, running),
		list("odd namespace", "NoSuchSidecar", p{NetworkNamespace: new("../../etc")}, running),
		list("systemd does not answer", "HostFailure", p{}, broken("List")),
		list("systemd does not answer in time", "HostFailure", p{}, broken("List", context.DeadlineExceeded)),
		list("systemd does not answer about one", "HostFailure", p{ID: new(here.String())}, broken("List")),
	}
}

func stopCases() []twinCase {
	stop := func(name, want string, p interfaces.StopParameters, prepare ...func(*testing.T, *host)) twinCase {
		return twinCase{name: name, request: request{parameters: p}, want: want, prepare: together(prepare)}
	}
	type p = interfaces.StopParameters
	return []twinCase{
		stop("running", "", p{ID: here.String()}, running),
		stop("with a time-out", "", p{ID: here.String(), TimeoutUSec: new(int64(2_000_000))}, running),
		stop("failed", "", p{ID: here.String()}, failed),
		stop("ends well", "", p{ID: here.String()}, running, ending(systemd.FailedWith(0))),
		stop("has to be killed", "", p{ID: here.String()}, running, ending(systemd.FailedWith(137))),
		stop("restarting", "", p{ID: here.String()}, waiting),
		stop("without a record", "", p{ID: here.String()}, unreadable),
		stop("another agent's", "", p{ID: other.String()}, running),
		stop("starting", "", p{ID: here.String()}, stuck),
		stop("absent", "NoSuchSidecar", p{ID: absent.String()}, running),
		stop("no ID", "InvalidParameter", p{ID: "neutron-dhcp.dnsmasq.XYZ"}, running),
		stop("no time", "InvalidParameter", p{ID: here.String(), TimeoutUSec: new(int64(0))}, running),
		stop("too long", "InvalidParameter", p{ID: here.String(), TimeoutUSec: new(int64(5_000_001))}, running),
		stop("systemd does not stop", "HostFailure", p{ID: here.String()}, running, broken("Stop")),
		stop("systemd does not stop in time", "HostFailure", p{ID: here.String()}, running, broken("Stop", context.DeadlineExceeded)),
	}
}

func signalCases() []twinCase {
	signal := func(name, want, id, signal string, prepare ...func(*testing.T, *host)) twinCase {
		return twinCase{
			name: name, want: want, prepare: together(prepare),
			request: request{parameters: interfaces.SignalParameters{ID: id, Signal: signal}},
		}
	}
	refusing := func(_ *testing.T, h *host) { h.signals.err = errors.New("pidfd_send_signal: a scripted failure") }
	return []twinCase{
		signal("running", "", here.String(), "SIGHUP", running),
		signal("ends", "", here.String(), "SIGTERM", running),
		signal("kills", "", here.String(), "SIGKILL", running),
		signal("ends what restarts", "", here.String(), "SIGTERM", waiting),
		signal("reloads what restarts", "NoSuchSidecar", here.String(), "SIGHUP", waiting),
		signal("another agent's", "", other.String(), "SIGUSR1", running),
		signal("failed", "NoSuchSidecar", here.String(), "SIGHUP", failed),
		signal("absent", "NoSuchSidecar", absent.String(), "SIGHUP", running),
		signal("no ID", "InvalidParameter", "", "SIGHUP", running),
		signal("no such signal", "InvalidParameter", here.String(), "HUP", running),
		signal("not allowed", "InvalidParameter", here.String(), "SIGSTOP", running),
		signal("the kernel does not", "HostFailure", here.String(), "SIGHUP", running, refusing),
		signal("systemd does not answer", "HostFailure", here.String(), "SIGHUP", running, broken("Get")),
	}
}

func profileCases() []twinCase {
	of := func(name, want string, agent *string) twinCase {
		return twinCase{name: name, want: want, request: request{parameters: interfaces.ListProfilesParameters{Agent: agent}}}
	}
	return []twinCase{
		of("all", "", nil),
		of("of an agent", "", new("neutron-dhcp")),
		of("of an unknown agent", "NoSuchAgent", new("nobody")),
		of("no agent's name", "InvalidParameter", new("a.b")),
	}
}

func monitorCases() []twinCase {
	monitor := func(name, want string, p interfaces.MonitorParameters) twinCase {
		return twinCase{name: name, want: want, request: request{parameters: p}, prepare: running}
	}
	type p = interfaces.MonitorParameters
	return []twinCase{
		monitor("all", "", p{}),
		monitor("of an agent", "", p{Agent: new("neutron-dhcp")}),
		{name: "unhealthy", request: request{parameters: p{Agent: new("pocket")}}, prepare: unhealthy},
		monitor("of a profile", "", p{Profile: new("haproxy")}),
		monitor("no agent's name", "InvalidParameter", p{Agent: new("A")}),
		monitor("no profile's name", "InvalidParameter", p{Profile: new("A")}),
	}
}

func readLogCases() []twinCase {
	readLog := func(name, want string, p interfaces.ReadLogParameters, prepare ...func(*testing.T, *host)) twinCase {
		return twinCase{name: name, request: request{parameters: p}, want: want, prepare: together(prepare)}
	}
	type p = interfaces.ReadLogParameters
	return []twinCase{
		readLog("all", "", p{}),
		readLog("one", "", p{ID: new(here.String())}, running),
		readLog("one that has ended", "", p{ID: new(absent.String())}),
		readLog("another agent's", "", p{ID: new(other.String())}),
		readLog("of an agent", "", p{Agent: new("neutron-dhcp")}),
		readLog("of another agent", "", p{Agent: new("pocket")}),
		readLog("of a profile", "", p{Profile: new("dnsmasq")}),
		readLog("everything", "", p{ID: new(here.String()), Agent: new("neutron-dhcp"), Profile: new("dnsmasq"), Lines: new(int64(1000)), SinceUSec: new(int64(0))}),
		readLog("nothing", "", p{Profile: new("radvd")}),
		readLog("no lines", "", p{Lines: new(int64(0))}),
		readLog("one line", "", p{Lines: new(int64(1))}),
		readLog("since", "", p{SinceUSec: new(int64(2))}),
		readLog("follows", "HostFailure", p{ID: new(here.String()), Follow: new(true)}),
		readLog("does not follow", "", p{ID: new(here.String()), Follow: new(false)}),
		readLog("of an unknown agent", "", p{Agent: new("nobody")}),
		readLog("of two agents", "NoSuchSidecar", p{ID: new(here.String()), Agent: new("pocket")}),
		readLog("of two profiles", "NoSuchSidecar", p{ID: new(here.String()), Profile: new("radvd")}),
		readLog("no ID", "InvalidParameter", p{ID: new("a.b")}),
		readLog("no agent's name", "InvalidParameter", p{Agent: new("A")}),
		readLog("no profile's name", "InvalidParameter", p{Profile: new("A")}),
		readLog("too many lines", "InvalidParameter", p{Lines: new(int64(1001))}),
		readLog("less than no lines", "InvalidParameter", p{Lines: new(int64(-1))}),
		readLog("the journal does not answer", "HostFailure", p{Lines: new(int64(13))}),
	}
}
