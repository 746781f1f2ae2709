package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/engine/podman"
	"tripleo.io/sidecar/service/policy"
)

const (
	id   = "agent.probe.0123456789ab"
	unit = "sidecar-" + id + ".service"
)

// fakeService has sidecars, or an error.
type fakeService struct {
	sidecars []interfaces.Sidecar
	err      error
}

func (f fakeService) List(context.Context, interfaces.ListParameters) ([]interfaces.Sidecar, error) {
	return f.sidecars, f.err
}

func (f fakeService) Info(context.Context) (*client.Info, error) { return &client.Info{}, f.err }

// hostOf returns a host with these files, on which a program prints what programs has for the
// beginning of its command line, and others fail.
func hostOf(t *testing.T, files, programs map[string]string) *Host {
	t.Helper()
	h := &Host{Root: t.TempDir()}
	for name, text := range files {
		path := h.path(name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	h.Run = func(_ context.Context, argv ...string) (string, error) {
		line := strings.Join(argv, " ")
		for program, text := range programs {
			if strings.HasPrefix(line, program) || strings.Contains(line, " "+program) {
				return text, nil
			}
		}
		return "", errors.New(argv[0] + ": does not answer")
	}
	return h
}

// found is a short form of findings.
func found(findings []Finding) []string {
	var all []string
	for _, f := range findings {
		all = append(all, string(f.Level)+" "+f.Subject+": "+f.Problem)
	}
	return all
}

func wantFound(t *testing.T, name string, findings []Finding, want ...string) {
	t.Helper()
	if d := cmp.Diff(want, found(findings)); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
	for _, f := range findings {
		if f.Advice == "" {
			t.Errorf("%s: no advice in %+v", name, f)
		}
	}
}

func TestDoctorVersions(t *testing.T) {
	t.Parallel()
	programs := map[string]string{"uname": "6.12.1-amd64\n", "systemctl": "systemd 257 (257.8)\n+PAM", "podman": "podman version 5.4.2\n", "pkaction": "pkaction version 126\n"}
	wantFound(t, "new ones", hostOf(t, nil, programs).lookAtVersions(t.Context()))
	programs["uname"], programs["pkaction"], programs["podman"] = "6.1.0", "pkaction version 122", "podman version 4.2.9"
	delete(programs, "systemctl")
	wantFound(t, "old ones", hostOf(t, nil, programs).lookAtVersions(t.Context()),
		"note kernel: version 6.1 is older than 6.5: only root may use the host's socket; others use the system bus",
		"error systemd: its version is not known: systemctl: does not answer",
		"error podman: version 4.2 is older than 4.3: containers cannot be made",
		"note polkit: version 122.0 is older than 124.0: only root may use the host's socket; others use the system bus",
	)
}

func TestDoctorJournal(t *testing.T) {
	t.Parallel()
	wantFound(t, "stuck", hostOf(t, nil, nil).lookAtJournal(t.Context()),
		"error systemd-journald.service: it does not read its messages: journalctl: does not answer")
	programs := map[string]string{
		"--sync": "", lostDecisions: `{"MESSAGE":"3 decisions are lost"}` + "\n",
		dropped: `{"MESSAGE":"Suppressed 5 messages from ` + unit + `"}` + "\n" + `{"MESSAGE":[1,2]}` + "\n" +
			`{"MESSAGE":"Suppressed 7 messages from cron.service"}` + "\n" + `{"MESSAGE":"Suppressed 9 messages from ` + unit + `"}` + "\n",
	}
	wantFound(t, "drops", hostOf(t, nil, programs).lookAtJournal(t.Context()),
		"warning sidecard.service: decisions were lost within the last hour: 3 decisions are lost",
		"warning "+unit+": journald has dropped entries within the last hour: Suppressed 9 messages from "+unit)
	programs[lostDecisions], programs[dropped] = "", ""
	wantFound(t, "well", hostOf(t, nil, programs).lookAtJournal(t.Context()))
}

func TestDoctorMountOfNamespaces(t *testing.T) {
	t.Parallel()
	const root, run = "1 1 0:1 / / rw shared:1 - ext4 /dev/a rw\n", "2 1 0:2 / /run rw shared:2 - tmpfs tmpfs rw\n"
	const netns = "3 2 0:2 /netns /run/netns rw "
	for name, test := range map[string]struct {
		mounts string
		want   mount
	}{
		"below /run":      {root + run, mount{"/run", "2", ""}},
		"shared":          {root + run + netns + "shared:3 - tmpfs tmpfs rw\n", mount{"/run/netns", "3", ""}},
		"private":         {root + run + netns + "- tmpfs shared:3 rw\n", mount{"/run/netns", "", ""}},
		"slave":           {root + run + netns + "master:2 - tmpfs tmpfs rw\n", mount{"/run/netns", "", "2"}},
		"both":            {root + run + netns + "shared:4 master:2 - tmpfs tmpfs rw\n", mount{"/run/netns", "4", "2"}},
		"the last counts": {root + netns + "shared:2 - tmpfs t rw\n" + netns + "- tmpfs t rw\n", mount{"/run/netns", "", ""}},
		"a namespace":     {root + run + "5 2 0:4 net:[1] /run/netns/a rw - nsfs nsfs rw\n", mount{"/run", "2", ""}},
		"a similar name":  {root + "3 2 0:2 / /run/net rw - tmpfs t rw\n", mount{"/", "1", ""}},
	} {
		if got := holder(test.mounts, "/run/netns"); got != test.want {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
	for name, test := range map[string]struct {
		host, daemon string
		want         []string
	}{
		"well":      {"shared:3", "master:3", nil},
		"one of it": {"shared:3", "shared:3", nil},
		"private":   {"", "master:3", []string{"error /run/netns: it is not shared: the host does not see the namespaces that agents make"}},
		"remounted": {"shared:4", "master:3", []string{"error sidecard.service: it does not see new names in /run/netns, which was mounted again since its start"}},
	} {
		h := hostOf(t, map[string]string{"proc/self/mountinfo": root + netns + test.host + " - tmpfs t rw\n", "proc/9/mountinfo": root + netns + test.daemon + " - tmpfs t rw\n"},
			map[string]string{"systemctl": "9\n"})
		wantFound(t, name, h.lookAtNamespaces(t.Context()), test.want...)
	}
}

// TestDoctorAdviceIsNoCommandOfAnAgent: agents choose names in /run/netns, and root may paste what
// the doctor says.
func TestDoctorAdviceIsNoCommandOfAnAgent(t *testing.T) {
	t.Parallel()
	const hostile = "x;reboot;#"
	h := hostOf(t, map[string]string{
		"proc/self/mountinfo": "3 2 0:2 /netns /run/netns rw shared:3 - tmpfs tmpfs rw\n", "run/netns/" + hostile: "", "run/netns/plain": "",
	}, nil)
	var advice []string
	for _, f := range h.lookAtNamespaces(t.Context()) {
		advice = append(advice, f.Advice)
	}
	if len(advice) != 2 || !strings.Contains(advice[0], "'ip netns delete plain'") || strings.Contains(advice[1], hostile) {
		t.Errorf("the advice is %q", advice)
	}
}

// sidecarOf is a ready sidecar, whose process is 7.
func sidecarOf(change func(*interfaces.Runtime)) []interfaces.Sidecar {
	s := interfaces.Sidecar{ID: id, Runtime: interfaces.Runtime{
		State: interfaces.StateReady, Unit: unit, Engine: interfaces.EnginePodman, ProcessID: new(int64(7)),
	}}
	change(&s.Runtime)
	return []interfaces.Sidecar{s}
}

func TestDoctorUnits(t *testing.T) {
	t.Parallel()
	group := map[string]string{
		"proc/7/cgroup": "0::/sidecar.slice/" + unit + "/payload\n", "proc/7/status": "Name:\tx\nState:\tS (sleeping)\n",
		"proc/6/cgroup": "0::/sidecar.slice/" + unit + "/payload\n", "proc/6/status": "Name:\tx\nState:\tZ (zombie)\n",
		"proc/8/cgroup": "0::/other.service\n",
	}
	for name, test := range map[string]struct {
		change     func(*interfaces.Runtime)
		containers []podman.Container
		want       []string
	}{
		"well":          {func(*interfaces.Runtime) {}, []podman.Container{{ID: id, Name: "sidecar-" + id}}, nil},
		"no container":  {func(*interfaces.Runtime) {}, nil, []string{"error " + id + ": its unit is active, but podman has no container sidecar-" + id}},
		"other engine":  {func(r *interfaces.Runtime) { r.Engine = interfaces.EngineRuntime }, nil, nil},
		"no process":    {func(r *interfaces.Runtime) { r.ProcessID = nil }, nil, []string{"error " + id + ": its unit is active, but its process does not exist"}},
		"dead process":  {func(r *interfaces.Runtime) { r.ProcessID = new(int64(9)) }, nil, []string{"error " + id + ": its unit is active, but its process does not exist"}},
		"zombie":        {func(r *interfaces.Runtime) { r.ProcessID = new(int64(6)) }, nil, []string{"error " + id + ": its unit is active, but its process does not exist"}},
		"wrong process": {func(r *interfaces.Runtime) { r.ProcessID = new(int64(8)) }, nil, []string{"error " + id + ": its unit is active, but its process does not exist"}},
		"starting":      {func(r *interfaces.Runtime) { r.State = interfaces.StateStarting }, nil, nil},
		"failed":        {func(r *interfaces.Runtime) { r.State, r.Result = interfaces.StateFailed, new("oom-kill") }, nil, []string{"warning " + id + ": it has failed: oom-kill"}},
	} {
		h := hostOf(t, group, nil)
		h.Service = fakeService{sidecars: sidecarOf(test.change)}
		h.Podman = func(context.Context) ([]podman.Container, error) { return test.containers, nil }
		wantFound(t, name, h.lookAtUnits(t.Context()), test.want...)
	}
}

// TestDoctorReadsDocuments: from systemd's file of a unit, with everything that it escapes.
func TestDoctorReadsDocuments(t *testing.T) {
	t.Parallel()
	arguments := []string{`"SIDECAR_PLAN=x"`, `a "SIDECAR_PLAN=`, `it's`, `back\slash`, "100%", "line\nfeed", "ü", "%%i"}
	d := document.New(interfaces.Context{Profile: "probe", Agent: "agent", Arguments: arguments}, arguments, document.Plan{
		ID: id, Engine: interfaces.EnginePodman, Program: "/usr/bin/podman", Image: "localhost/x:1", Command: []string{"/bin/x"},
		PIDNamespace: document.Private, PIDFiles: []document.File{{Root: "/var/lib/agent", Path: "pid"}},
	})
	variables, err := d.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, join := range map[string]string{"one line": `" "`, "two lines": "\"\nEnvironment=\""} {
		var escaped []string
		for _, variable := range variables {
			escaped = append(escaped, asSystemd(variable))
		}
		text := "[Service]\nEnvironment=\"" + strings.Join(escaped, join) + "\"\nRestart=no\n"
		h := hostOf(t, map[string]string{"run/systemd/transient/" + unit: text}, nil)
		got, err := h.document(unit)
		if d := cmp.Diff(*d, got); err != nil || d != "" {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, d)
		}
	}
}

// asSystemd escapes as cescape() and specifier_escape() of systemd 257 do.
func asSystemd(s string) string {
	s = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `'`, `\'`, "\n", `\n`, "ü", `\303\274`).Replace(s)
	return strings.ReplaceAll(s, "%", "%%")
}

func TestDoctorReadsPIDFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{"good": "12\n", "bad": "x", "empty": "", "negative": "-1"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink("good", dir+"/link"), os.Mkdir(dir+"/dir", 0o700)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int64{"good": 12, "bad": 0, "empty": 0, "negative": 0, "link": 0, "dir": 0, "missing": 0, "../x": 0} {
		if got, err := readPID(dir, name); got != want || (err == nil) != (want > 0) {
			t.Errorf("%s: %d, %v; want %d", name, got, err, want)
		}
	}
}

func TestDoctorLeftovers(t *testing.T) {
	t.Parallel()
	h := hostOf(t, map[string]string{
		"run/systemd/transient/" + unit:                            "",
		"run/sidecar/leftovers/" + id:                              "",
		"run/sidecar/launch/" + id + "/x":                          "",
		"run/sidecar/launch/agent.probe.0123456789cd/x":            "",
		"run/sidecar/templates/users/agent.probe.0123456789ef":     "",
		"run/sidecar/templates/users/" + id:                        "",
		"run/sidecar/templates/users/agent.probe.0123456789.new":   "",
		"run/systemd/transient/sidecar-namespace:agent.01.service": "",
		"run/sidecar/namespaces/agent.01":                          "",
		"run/sidecar/namespaces/agent.02":                          "",
	}, nil)
	wantFound(t, "leftovers", h.lookAtLeftovers(t.Context()),
		"warning /run/sidecar/leftovers/"+id+": a container could not be removed yet",
		"warning /run/sidecar/launch/agent.probe.0123456789cd: the pins of a unit that does not exist",
		"warning /run/sidecar/namespaces/agent.02: the pin of a network namespace that was made for an agent, and whose unit does not exist",
		"warning /run/sidecar/templates/users/agent.probe.0123456789ef: the note of a unit that does not exist, which keeps an image mounted")
}

func TestDoctorWithoutTheService(t *testing.T) {
	t.Parallel()
	h := hostOf(t, nil, nil)
	h.Service = fakeService{err: errors.New("connection refused")}
	h.Policy = func() (*policy.Set, error) { return policy.Load(t.TempDir()) }
	for _, look := range []func(context.Context) []Finding{h.lookAtUnits, h.lookAtPIDFiles} {
		wantFound(t, "sidecars", look(t.Context()), "warning sidecars: not looked at: connection refused")
	}
}

// TestDoctorLooksTwice: what has changed meanwhile is not out of line.
func TestDoctorLooksTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		look := Look{Name: "x", do: func(*Host, context.Context) []Finding {
			looks++
			return []Finding{{Subject: "stays", Problem: fmt.Sprint("told by caller ", looks)}, {Subject: fmt.Sprint("number ", looks)}}
		}}
		if d := cmp.Diff([]Finding{{Look: "x", Subject: "stays", Problem: "told by caller 2"}}, (&Host{}).Look(t.Context(), look)); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	})
}

// TestDoctorNeedsEachProfileOnce: of two agents whose files name images of their own, too.
func TestDoctorNeedsEachProfileOnce(t *testing.T) {
	t.Parallel()
	profile := "description = \"a probe\"\nimage = \"localhost/x:1\"\nengine = \"runtime\"\ncommand = [\"/bin/p\"]\ninstance = \"-p\"\n" +
		"ready = { pid-file = \"-p\" }\narguments = [\"-p {path:rw}\"]\n"
	agent := "profiles = [\"probe\"]\nnetwork-namespaces = [\"%[1]s-*\"]\nstate-directories = [\"/var/lib/%[1]s\"]\n[images]\nprobe = \"localhost/%[2]s:1\"\n"
	h := hostOf(t, map[string]string{
		"policy/profiles.d/probe.toml": profile,
		"policy/agents.d/a.toml":       fmt.Sprintf(agent, "a", "own"),
		"policy/agents.d/b.toml":       fmt.Sprintf(agent, "b", "own"),
		"policy/agents.d/c.toml":       fmt.Sprintf(agent, "c", "other"),
	}, nil)
	h.Policy = func() (*policy.Set, error) { return policy.Load(h.path("policy")) }
	h.Images = func() (map[string]string, error) { return nil, nil }
	h.Runtime = func(string) string { return "" }
	wantFound(t, "images", h.lookAtImages(t.Context()),
		"error probe: its image localhost/other:1 is not on the host", "error probe: its image localhost/own:1 is not on the host")
	wantFound(t, "runtimes", h.lookAtRuntimes(t.Context()), "error probe: the host has none of its OCI runtimes: crun")
}
