package policy_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tripleo.io/sidecar/service/policy"
)

const (
	goodProfile = `description = "a test"
image = "localhost/x:1"
command = ["/bin/x"]
instance = "-f"
ready = { process = true }
arguments = ["-f {path:ro}", "-p {path:rw}", "-n {int}"]
`
	goodAgent = `profiles = ["x"]
network-namespaces = ["x-*"]
state-directories = ["/srv/x"]
`
)

// edit replaces a line of a document by another, or appends it.
func edit(document, line string) string {
	key, _, _ := strings.Cut(line, " ")
	lines := strings.SplitAfter(document, "\n")
	for i, old := range lines {
		if strings.HasPrefix(old, key+" ") {
			lines[i] = line + "\n"
			return strings.Join(lines, "")
		}
	}
	return document + line + "\n"
}

func TestPolicyLoadProfileProblems(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		line string // instead of the good profile's, or after it
		want string // "line: key: text"; the text is a part
	}{
		{`imgae = "x"`, `7: imgae: unknown key (did you mean image?)`},
		{`Image = "x"`, `7: Image: unknown key (did you mean image?)`},
		{`colour = "red"`, `7: colour: unknown key`},
		{`ready = { process = true, time-out = "3s" }`, `5: ready.time-out: unknown key (did you mean ready.timeout?)`},
		{`image = 7`, `2: image: is of type integer, should be a string`},
		{`arguments = "-f {path:ro}"`, `6: arguments: is of type string, should be a list of strings`},
		{`tasks-max = "7"`, `7: tasks-max: is of type string, should be a whole number`},
		{`ready = "-f"`, `5: ready: is of type string, should be a table such as`},
		{`image = `, `2: TOML: `},
		{`image = "a b"`, `2: image: "a b" is not an image reference`},
		{`image = "-v/:/"`, `2: image: "-v/:/" is not an image reference`},
		{`image = ""`, `2: image: is missing`},
		{`description = "a\u001bb"`, `1: description: it has the control character U+001B`},
		{`command = []`, `3: command: is missing`},
		{`command = ["x"]`, `3: command: the program's path "x": it must be absolute`},
		{`command = ["/bin/x", "a\u0000"]`, `3: command[1]: it has the control character U+0000`},
		{`instance = "-q"`, `4: instance: -q must have exactly one rule`},
		{`instance = ""`, `4: instance: is missing`},
		{`ready = { }`, `5: ready: must have exactly one of pid-file, socket and process`},
		{`ready = { process = true, pid-file = "-p" }`, `5: ready: must have exactly one of`},
		{`ready = { pid-file = "-f" }`, `5: ready.pid-file: the value of -f must be {path:pid} or {path:rw}`},
		{`ready = { pid-file = "-n" }`, `5: ready.pid-file: the value of -n must be {path:pid} or {path:rw}`},
		{`ready = { pid-file = "-q" }`, `5: ready.pid-file: -q must have exactly one rule`},
		{`ready = { pid-file = ["-p", "-p"] }`, `5: ready.pid-file: -p is listed twice`},
		{`ready = { pid-file = [] }`, `5: ready.pid-file: is an empty list`},
		{`ready = { pid-file = [` + strings.Repeat(`"{state}/a/b",`, 17) + `] }`, `5: ready.pid-file: lists 17 files, 16 are accepted`},
		{`ready = { pid-file = [7] }`, `5: ready.pid-file: must be a string or a list of strings`},
		{`ready = { pid-file = 7 }`, `5: ready.pid-file: must be a string or a list of strings`},
		{`ready = { pid-file = "/run/x.pid" }`, `5: ready.pid-file: "/run/x.pid" must begin with {state}/ or {dir}/`},
		{`ready = { pid-file = "{state}/../x.pid" }`, `5: ready.pid-file: "{state}/../x.pid": what follows the first '/'`},
		{`ready = { pid-file = "{state}/{name}.pid" }`, `5: ready.pid-file: "{state}/{name}.pid": what follows the first '/'`},
		{`ready = { pid-file = "{state}/a/x.pid" }`, `5: ready.pid-file: the process cannot write "{state}/a/x.pid": add "{state}/a:rw" to mounts`},
		{`ready = { pid-file = "{state}/x.pid" }`, `5: ready.pid-file: the process cannot write "{state}/x.pid": add "{state}:rw" to mounts`},
		{`ready = { socket = "{dir}/x.ctl" }`, `5: ready.socket: the process cannot write "{dir}/x.ctl": the value of -f must be {path:rw}`},
		{`ready = { socket = "{dir}/a/x.ctl" }`, `5: ready.socket: "{dir}/a/x.ctl" must lie in {dir} itself`},
		{`ready = { process = true, default-pid-file = "{state}/x" }`, `5: ready.default-pid-file: needs a pid-file that is one option`},
		{`ready = { process = true, timeout = "soon" }`, `5: ready.timeout: "soon" is not a time between 1s and 10m`},
		{`ready = { process = true, timeout = "11m" }`, `5: ready.timeout: "11m" is not a time between 1s and 10m`},
		{`capabilities = ["CAP_KILL"]`, `7: capabilities[0]: "CAP_KILL" is written KILL here`},
		{`capabilities = ["KILL", "KIL"]`, `7: capabilities[1]: "KIL" is not a capability (did you mean KILL?)`},
		{`capabilities = ["KILL", "KILL"]`, `7: capabilities[1]: KILL is listed twice`},
		{`pid-namespace = "hots"`, `7: pid-namespace: "hots" is not one of private, host`},
		{`restart = "on-failur"`, `7: restart: "on-failur" is not one of no, on-failure, always (did you mean on-failure?)`},
		{`memory-max = "64MB"`, `7: memory-max: "64MB" is not a size`},
		{`memory-max = "1000K"`, `7: memory-max: "1000K" is less than 1M`},
		{`memory-max = "99999999999T"`, `7: memory-max: "99999999999T" is not a size`},
		{`memory-max = ""`, `7: memory-max: "" is not a size`},
		{`tasks-max = 0`, `7: tasks-max: 0 is not between 1 and`},
		{`cpu-weight = 10001`, `7: cpu-weight: 10001 is not between 1 and 10000`},
		{`cpu-max = "50"`, `7: cpu-max: "50" is not a share of one CPU between "1%" and "100000%", such as "50%"`},
		{`cpu-max = "0%"`, `7: cpu-max: "0%" is not a share`},
		{`cpu-max = "1.5%"`, `7: cpu-max: "1.5%" is not a share`},
		{`cpu-max = "100001%"`, `7: cpu-max: "100001%" is not a share`},
		{`files-max = 15`, `7: files-max: 15 is not between 16 and 1048576`},
		{`restart-delay = "1s"`, `7: restart-delay: needs restart = "on-failure" or "always"`},
		{`restart-limit = "5/10m"`, `7: restart-limit: needs restart = "on-failure" or "always"`},
		{"restart = \"always\"\nrestart-delay = \"-1s\"", `8: restart-delay: "-1s" is not a time between 0s and 1h, such as "5s"`},
		{"restart = \"always\"\nrestart-delay = \"2h\"", `8: restart-delay: "2h" is not a time`},
		{"restart = \"always\"\nrestart-delay = \"999ms\"\nrestart-limit = \"none\"", `9: restart-limit: "none" needs a restart-delay of at least 1s`},
		{"restart = \"always\"\nrestart-limit = \"5\"", `8: restart-limit: "5" is neither a number of restarts (1 to 1000) and an interval (1s to 24h), such as "5/10m", nor "none"`},
		{"restart = \"always\"\nrestart-limit = \"0/10m\"", `8: restart-limit: "0/10m" is neither`},
		{"restart = \"always\"\nrestart-limit = \"1001/10m\"", `8: restart-limit: "1001/10m" is neither`},
		{"restart = \"always\"\nrestart-limit = \"5/25h\"", `8: restart-limit: "5/25h" is neither`},
		{`oom-score-adjust = -1001`, `7: oom-score-adjust: -1001 is not between`},
		{`mounts = ["{state}"]`, `7: mounts[0]: "{state}" must end in :ro, :rw or :private`},
		{`mounts = ["{state}:ro", "{state}/..:ro"]`, `7: mounts[1]: "{state}/..:ro": what follows {state}: it must be written without`},
		{`mounts = ["{state}x:ro"]`, `7: mounts[0]: "{state}x:ro": what follows {state}: it must be absolute`},
		{`mounts = ["{dir}:ro"]`, `7: mounts[0]: "{dir}:ro": it must be absolute; it begins with {state} or is a fixed path`},
		{`mounts = ["{state}:ro", "-{state}:rw"]`, `7: mounts[1]: "-{state}:rw" is listed twice`},
		{`mounts = [` + manyMounts(64) + `]`, `7: mounts: has 64 entries, 63 are accepted`},
		{`mounts = ["/etc:ro"]`, `7: mounts[0]: "/etc:ro": /etc is too broad`},
		{`mounts = ["/etc/x:rw"]`, `7: mounts[0]: "/etc/x:rw": nothing in /etc may be handed out`},
		{`mounts = ["/run/podman:ro"]`, `7: mounts[0]: "/run/podman:ro": nothing in /run/podman may be handed out`},
		{`mounts = ["/proc/1:ro"]`, `7: mounts[0]: "/proc/1:ro": nothing in /proc may be handed out`},
		{`mounts = ["/:ro"]`, `7: mounts[0]: "/:ro": / is too broad`},
		{`arguments = []`, `6: arguments: is missing`},
		{`arguments = ["-f {path:ro}", "-f {path:ro}"]`, `6: arguments[1]: "-f {path:ro}": it is listed twice`},
		{`arguments = ["-f {path:ro}", "-x{paht}"]`, `6: arguments[1]: "-x{paht}": unknown hole {paht}`},
		{"arguments = [\n  \"-f {path:ro}\", # fine\n\n  \"{text}\",\n]", `9: arguments[1]: "{text}": a rule that begins with {text} would accept any option`},
		{"[ready]\nprocess = true", `7: ready: key ready should be a table`},
		{"[other]\nx = 1", `7: other: unknown key`},
	} {
		t.Run(test.line, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			profile := filepath.Join(dir, "profiles.d", "x.toml")
			write(t, profile, edit(goodProfile, test.line))
			wantProblem(t, dir, profile+":"+test.want)
		})
	}
}

// manyMounts lists as many different mounts of a profile.
func manyMounts(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"{state}/%d:ro", `, i)
	}
	return b.String()
}

// wantProblem checks that loading finds just one problem.
func wantProblem(t *testing.T, dir, want string) {
	t.Helper()
	_, err := policy.Load(dir)
	if err == nil {
		t.Fatalf("no error, want %s", want)
	}
	got := err.Error()
	if !strings.HasPrefix(got, want) || strings.Contains(got, "\n") {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestPolicyLoadAgentProblems(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ line, want string }{
		{`profile = ["x"]`, `4: profile: unknown key (did you mean profiles?)`},
		{`profiles = []`, `1: profiles: is missing`},
		{`profiles = ["xx"]`, `1: profiles: profile "xx" does not exist`},
		{`profiles = ["x", "x"]`, `1: profiles[1]: x is listed twice`},
		{`network-namespaces = []`, `2: network-namespaces: is missing`},
		{`network-namespaces = ["a/*"]`, `2: network-namespaces[0]: "a/*": it contains '/'; only letters, digits and . _ - @ : + , = % ~ # are accepted; '*' stands for any number of characters`},
		{`network-namespaces = ["a", ".."]`, `2: network-namespaces[1]: "..": it would be a directory`},
		{`network-namespaces = [""]`, `2: network-namespaces[0]: "": it is empty`},
		{`state-directories = []`, `3: state-directories: is missing`},
		{`state-directories = ["srv/x"]`, `3: state-directories[0]: "srv/x": it must be absolute`},
		{`state-directories = ["/srv/x/"]`, `3: state-directories[0]: "/srv/x/": it must be written without`},
		{`state-directories = ["/srv/x/../y"]`, `3: state-directories[0]: "/srv/x/../y": it must be written without`},
		{`state-directories = ["/srv/a:b"]`, `3: state-directories[0]: "/srv/a:b": a directory that is mounted may have no ':'`},
		{`state-directories = ["/"]`, `3: state-directories[0]: "/": / is too broad`},
		{`state-directories = ["/var/lib"]`, `3: state-directories[0]: "/var/lib": /var/lib is too broad`},
		{`state-directories = ["/home"]`, `3: state-directories[0]: "/home": /home is too broad`},
		{`state-directories = ["/etc/neutron"]`, `3: state-directories[0]: "/etc/neutron": nothing in /etc`},
		{`state-directories = ["/usr"]`, `3: state-directories[0]: "/usr": nothing in /usr`},
		{`state-directories = ["/proc/1/root"]`, `3: state-directories[0]: "/proc/1/root": nothing in /proc`},
		{`state-directories = ["/run/sidecar/agents"]`, `3: state-directories[0]: "/run/sidecar/agents": nothing in /run/sidecar`},
		{`state-directories = ["/var/lib/containers/storage"]`, `3: state-directories[0]: "/var/lib/containers/storage": nothing in`},
		{`state-directories = ["/srv/x", "/srv/x/y"]`, `3: state-directories[1]: /srv/x and /srv/x/y overlap`},
		{`state-directories = ["/opt/x/sub"]`, `3: state-directories: /opt/x/sub overlaps the fixed mount /opt/x of profile x`},
		{`subdirectories = ["/a"]`, `4: subdirectories[0]: "/a" lies in none of the state-directories (/srv/x)`},
		{`subdirectories = ["/srv/x/../y"]`, `4: subdirectories[0]: "/srv/x/../y": it must be written without`},
		{`subdirectories = ["/srv/x/a", "/srv/x/a/b"]`, `4: subdirectories[1]: /srv/x/a and /srv/x/a/b overlap`},
		{`subdirectories = ["a", "../b"]`, `4: subdirectories[1]: "../b": with the state directory before it, it must be written without`},
		{`subdirectories = [""]`, `4: subdirectories[0]: "": with`},
		{`subdirectories = ["a:b"]`, `4: subdirectories[0]: "a:b": with the state directory before it, a directory that is mounted may have no ':'`},
		{`subdirectories = ["a/b", "a"]`, `4: subdirectories[1]: a/b and a overlap`},
		{`subdirectories = [".", "."]`, `4: subdirectories[1]: . and . overlap`},
		{`subdirectories = "a"`, `4: subdirectories: is of type string, should be a list of strings`},
		{`max-sidecars = 0`, `4: max-sidecars: 0 is not between 1 and 100000`},
		{`stand-ins = "yes"`, `4: stand-ins: is of type string, should be true or false`},
		{`stand-in = true`, `4: stand-in: unknown key (did you mean stand-ins?)`},
		{`spool-user = -1`, `4: spool-user: -1 is not between 0 and 4294967294`},
		{`spool-user = 4294967295`, `4: spool-user: 4294967295 is not between 0 and 4294967294`},
		{`spool-user = "neutron"`, `4: spool-user: is of type string, should be a whole number`},
		{`spool_user = 1`, `4: spool_user: unknown key (did you mean spool-user?)`},
		{"limits = 7", `4: limits: is of type integer, should be a table such as { memory-max = "2G", tasks-max = 1000 }`},
		{`limits = { memory-max = "1K" }`, `4: limits.memory-max: "1K" is less than 1M`},
		{`limits = { tasks-max = 0 }`, `4: limits.tasks-max: 0 is not between 1 and`},
		{`limits = { cpu-max = "x" }`, `4: limits.cpu-max: "x" is not a share`},
		{`limits = { files-max = 16 }`, `4: limits.files-max: unknown key`},
		{`host-network = 1`, `4: host-network: is of type integer, should be true or false`},
		{`images = "x"`, `4: images: is of type string, should be a table such as { haproxy = "localhost/haproxy:3" }`},
		{"[images]\nx = 7", `5: images.x: is of type integer, should be a string`},
		{"[images]\nx = \"\"", `5: images.x: is missing`},
		{"[images]\nx = \"-v/:/\"", `5: images.x: "-v/:/" is not an image reference`},
		{"[images]\nxx = \"localhost/x:2\"", `5: images.xx: profile "xx" is not in profiles, so the agent has no sidecars with this image (did you mean x?)`},
		{"[image]\nx = \"localhost/x:2\"", `4: image: unknown key (did you mean images?)`},
	} {
		t.Run(test.line, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, filepath.Join(dir, "profiles.d", "x.toml"), goodProfile+`mounts = ["/opt/x:ro"]`)
			agent := filepath.Join(dir, "agents.d", "a.toml")
			write(t, agent, edit(goodAgent, test.line))
			wantProblem(t, dir, agent+":"+test.want)
		})
	}
}

func TestPolicyLoadReportsEveryProblem(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "profiles.d", "x.toml"), edit(edit(goodProfile, `restart = "never"`), `tasks-max = 0`))
	write(t, filepath.Join(dir, "profiles.d", "y.toml"), "image = \n")
	write(t, filepath.Join(dir, "agents.d", "a.toml"), edit(edit(goodAgent, `colour = "red"`), `max-sidecars = -1`))
	_, err := policy.Load(dir)
	if err == nil {
		t.Fatal("no error")
	}
	var got []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		place := strings.SplitN(strings.TrimPrefix(line, dir+"/"), ":", 4)
		got = append(got, strings.Join(place[:3], ":"))
	}
	want := []string{
		"profiles.d/x.toml:7: restart", "profiles.d/x.toml:8: tasks-max", "profiles.d/y.toml:1: TOML",
		"agents.d/a.toml:4: colour", "agents.d/a.toml:5: max-sidecars",
	}
	if diff := cmp.Diff(want, got, cmpopts.SortSlices(strings.Compare)); diff != "" {
		t.Errorf("(-want +got):\n%s\n%v", diff, err)
	}
}

func TestPolicyLoadWarnings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	profile, agent := filepath.Join(dir, "profiles.d", "x.toml"), filepath.Join(dir, "agents.d", "a.toml")
	write(t, profile, goodProfile+"pid-namespace = \"host\"\ncapabilities = [\"KILL\", \"SYS_ADMIN\"]\nmounts = [\"/srv/y:rw\"]\n")
	write(t, agent, "host-network = true\nprofiles = [\"x\"]\nnetwork-namespaces = [\"*\"]\nstate-directories = [\"/tmp\"]\n")
	want := []string{
		profile + ":8: capabilities[1]: SYS_ADMIN reaches beyond the container, to the host",
		profile + ":9: mounts[0]: every sidecar of this profile may write to /srv/y",
		profile + ":7: pid-namespace: a root process in the host's pid namespace may signal every root process of the host",
		agent + `:3: network-namespaces[0]: "*" allows every network namespace of the host`,
		agent + ":4: state-directories[0]: every user of the host may write to /tmp",
		agent + ":1: host-network: sidecars of this agent may run in the host's own network",
	}
	if diff := cmp.Diff(want, load(t, dir).Warnings()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestPolicyLoadWarnsOfRestarts: nobody can tell a handled SIGTERM from exit code 0.
func TestPolicyLoadWarnsOfRestarts(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]int{"no": 0, "on-failure": 0, "always": 1} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "profiles.d", "x.toml"), edit(goodProfile, `restart = "`+value+`"`))
		write(t, filepath.Join(dir, "agents.d", "a.toml"), goodAgent)
		got := load(t, dir).Warnings()
		if len(got) != want || want > 0 && !strings.Contains(got[0], `x.toml:7: restart: with "always", a program that handles SIGTERM`) {
			t.Errorf("%s: warnings %q", value, got)
		}
	}
}

// TestPolicyLoadWarnsOfSharedLimits: systemd nests slices by the dashes in their names.
func TestPolicyLoadWarnsOfSharedLimits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "profiles.d", "x.toml"), goodProfile)
	limits := goodAgent + "[limits]\ntasks-max = 9\n"
	for name, text := range map[string]string{"a": limits, "a-b": limits, "ab": limits, "a-b-c": goodAgent} {
		write(t, filepath.Join(dir, "agents.d", name+".toml"), strings.ReplaceAll(text, "/srv/x", "/srv/"+name))
	}
	var got []string
	for _, warning := range load(t, dir).Warnings() {
		if text, ok := strings.CutPrefix(warning, filepath.Join(dir, "agents.d")+"/"); ok && strings.Contains(text, "limits") {
			got = append(got, text)
		}
	}
	const text = ".toml:4: limits: they also hold for "
	const why = ", whose slice lies in this agent's because of its name"
	if diff := cmp.Diff([]string{"a" + text + "a-b, a-b-c" + why, "a-b" + text + "a-b-c" + why}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
