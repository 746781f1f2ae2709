package service

import (
	"os"
	"slices"
	"strings"

	"tripleo.io/sidecar/service/launch"
	"tripleo.io/sidecar/service/lsm"
	"tripleo.io/sidecar/service/policy"
	"tripleo.io/sidecar/service/systemd"
)

// engine builds what runs inside a unit. It is the one place that knows podman:
// exit code, process ID, readiness and stop are read from the unit and its
// control group.
type engine interface {
	// start returns the program and arguments that become the payload. It is
	// executed by sidecar-launch, after the pins are made.
	start(j *job) []string
	// clean returns what removes left-overs of the payload after it ended.
	clean(j *job) []string
	// aside returns what gives those left-overs another name, but for that name.
	aside(j *job) []string
	// stumbled reports whether a unit failed because the engine itself did, which
	// may go better the next time.
	stumbled(u systemd.Unit) bool
}

// podman runs the payload in a container of the unit's name. Each flag has its
// reason in ARCHITECTURE.md, "The unit".
type podman struct {
	path    string
	init    string // path of sidecar-init on the host
	seccomp string // path of the filter for profiles that name none
	syslog  string // path of journald's socket for syslog(3), or ""

	// lsm is what the kernel has of security modules.
	lsm func() lsm.State
}

// quiet are podman's flags for a unit's log that is the payload's. podman would write its
// events to the journal, where it would wait for a journald that does not read, without an
// end. conmon passes that flag on to podman's own clean-up, and has the log level from
// podman: it warns of a missing memory controller at every start and end.
var quiet = []string{"--events-backend=none", "--log-level=error"}

// initPath is where a container sees sidecar-init, as podman's own --init does.
const initPath = "/run/sidecar-init"

func (p podman) start(j *job) []string {
	profile := j.decision.Profile
	// The program is given as the entry point: what an image names as its own
	// must not come before it.
	payload := slices.Concat(profile.Command, j.decision.Arguments)
	var adopted []string
	if profile.Daemonizes {
		adopted, payload = p.adopted(payload), []string{initPath}
	}
	return slices.Concat(
		[]string{p.path}, quiet, []string{"run"}, p.confinement(j),
		mountFlags(j), tmpfsFlags(j.decision.Tmpfs()), p.syslogFlags(profile), environmentFlags(j), adopted,
		[]string{"--entrypoint=[]", profile.Image}, payload,
	)
}

// confinement returns the flags that say how podman runs the container, and what the
// payload may do in it.
func (p podman) confinement(j *job) []string {
	profile := j.decision.Profile
	flags := []string{
		"-d", "--rm", "--replace",
		"--name=" + j.id.Container(),
		"--sdnotify=conmon", "--cgroups=split",
		"--pull=never", "--log-driver=passthrough",
		"--read-only", "--read-only-tmpfs=false", "--no-hosts",
		"--no-healthcheck", "--image-volume=ignore", "--http-proxy=false",
		"--security-opt=no-new-privileges", "--cap-drop=all",
		"--user=" + j.decision.User.String(), "--passwd=false",
		"--network=" + networkOf(j),
	}
	flags = append(flags, p.filter(profile.Seccomp)...)
	host := p.lsm()
	if host.AppArmor.Wanted() {
		flags = append(flags, "--security-opt=apparmor="+lsm.Profile)
	}
	if host.SELinux.On {
		flags = append(flags, "--security-opt=label=level:"+j.decision.Agent.SELinuxLevel)
	}
	if host.SELinux.Labelled {
		flags = append(flags, "--security-opt=label=type:"+lsm.PayloadType)
	}
	if profile.PIDNamespace == "host" {
		flags = append(flags, "--pid=host")
	}
	for _, name := range profile.Capabilities {
		flags = append(flags, "--cap-add="+name)
	}
	return flags
}

// mountFlags mounts what sidecar-launch has pinned. A mount that lies in another one
// comes along with it.
func mountFlags(j *job) []string {
	var flags []string
	plan := planOf(j)
	for i, m := range j.decision.Mounts {
		if plan.Outermost(i) == i {
			flags = append(flags, "--mount="+mountOption(launch.MountPath(j.id.String(), i), m))
		}
	}
	return flags
}

// tmpfsFlags make small directories that the payload has for itself. What the image has in
// their place is not copied, and nothing in them can be run. podman does not pass nr_inodes
// on: what holds the number of files in them is the profile's memory-max.
func tmpfsFlags(dirs []string) []string {
	var flags []string
	for _, dir := range dirs {
		flags = append(flags, "--tmpfs="+dir+":rw,noexec,nosuid,nodev,notmpcopyup,size=1m,mode=1777")
	}
	return flags
}

// syslogFlags let syslog(3) reach the journal. The socket is PID 1's and outlives
// journald. It takes lines of text only: a payload cannot set fields such as DECISION. A
// host that has no journald for syslog does without.
func (p podman) syslogFlags(profile *policy.Profile) []string {
	if _, err := os.Stat(p.syslog); err != nil || !profile.Syslog {
		return nil
	}
	return []string{"--mount=" + mountOption(p.syslog, policy.Mount{Target: "/dev/log"})}
}

func environmentFlags(j *job) []string {
	var flags []string
	for _, assignment := range j.decision.Profile.EnvironmentOf(j.decision.User) {
		flags = append(flags, "--env="+assignment)
	}
	if tag := j.context.ProcessTag; tag != nil {
		flags = append(flags, "--env=PROCESS_TAG="+*tag)
	}
	return flags
}

// filter returns the flag that says which system calls a payload may make.
// Without one podman takes its own filter.
func (p podman) filter(choice string) []string {
	switch choice {
	case policy.SeccompDefault:
		return nil
	case "":
		choice = p.seccomp
	case policy.SeccompNetfilter:
		choice = SeccompNetfilter(p.seccomp)
	}
	return []string{"--security-opt=seccomp=" + choice}
}

// SeccompNetfilter returns the path of the filter that lets NETLINK_NETFILTER through,
// too: it lies beside the service's own.
func SeccompNetfilter(own string) string { return strings.TrimSuffix(own, ".json") + "-netfilter.json" }

// adopted returns the flags that hand sidecar-init a command to start. It is not
// in the command line of sidecar-init: callers look a daemon up by its own.
func (p podman) adopted(command []string) []string {
	words, _ := jsonText(command) // strings cannot fail
	return []string{
		"--mount=" + mountOption(p.init, policy.Mount{Target: initPath}),
		"--env=SIDECAR_COMMAND=" + words,
	}
}

func (p podman) clean(j *job) []string {
	return slices.Concat([]string{p.path}, quiet, []string{"rm", "-f", "-i", "-t", "0", j.id.Container()})
}

func (p podman) aside(j *job) []string {
	return slices.Concat([]string{p.path}, quiet, []string{"rename", j.id.Container()})
}

// stumbled knows podman by its exit code 125 (podman-run(1)). It fails so, with
// --replace too, while there is a container of the name whose monitor was killed
// and that nobody has cleaned up after: systemctl kill --signal=KILL kills conmon,
// and with kernel 6.18 ExecStopPost as well. sidecar-launch fails with the same
// code, and says in the unit's status that it was not the engine. One whose time was
// over, which shows in the result, has had its try.
func (p podman) stumbled(u systemd.Unit) bool {
	return !launch.HasFailed(u.StatusText) && u.Result == "exit-code" && u.ExecMainCode == cldExited && u.ExecMainStatus == 125
}

func networkOf(j *job) string {
	if j.context.NetworkNamespace == nil {
		return "host"
	}
	return "ns:" + launch.NetworkNamespacePath(j.id.String())
}

// mountOption is a value of podman's --mount. Policy lets no path through that
// has a comma or a quote in it.
func mountOption(source string, m policy.Mount) string {
	option := "type=bind,source=" + source + ",destination=" + m.Target
	if m.Writable {
		return option
	}
	return option + ",readonly=true"
}
