package policy_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/policy"
)

func TestPolicyLoadReadsEveryKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "profiles.d", "x.toml"), `description = "a test"
image = "registry.example.org:5000/x@sha256:0123"
engine = "runtime"
runtime = ["crun", "/opt/x/runsc"]
runtime-required = true
command = ["/bin/x", "--fixed"]
instance = "-f"
ready = { pid-file = "-p", default-pid-file = "{state}/run/{stem}.pid", timeout = "90s" }
capabilities = ["NET_RAW", "KILL"]
pid-namespace = "host"
user = "root"
environment = ["A={uid}:{gid}"]
ignored-arguments = ["-u {name}"]
syslog = false
restart = "on-failure"
restart-delay = "2500ms"
restart-limit = "7/1h"
memory-max = "64M"
tasks-max = 16
cpu-weight = 50
cpu-max = "150%"
files-max = 256
oom-score-adjust = -500
mounts = ["{state}/run:rw", "-/etc/x:ro"]
arguments = ["-f {path:ro}", "-p {path:rw}"]
`)
	write(t, filepath.Join(dir, "agents.d", "a.toml"), goodAgent+"host-network = true\nmax-sidecars = 7\nsubdirectories = [\"c\", \".\"]\nstand-ins = true\nspool-user = 4294967294\nsidecar-user = 4711\nselinux-level = \"s0:c4\"\nlinked-namespaces = \"refuse\"\n[images]\nx = \"localhost/other:2\"\n[limits]\nmemory-max = \"2G\"\ntasks-max = 9\ncpu-weight = 1\ncpu-max = \"1%\"\n")
	set := load(t, dir)
	profile, _ := set.Profile("x")
	want := &policy.Profile{
		Name: "x", Description: "a test", Image: "registry.example.org:5000/x@sha256:0123",
		Engine: "runtime", Runtimes: []string{"crun", "/opt/x/runsc"}, RuntimeRequired: true,
		Command: []string{"/bin/x", "--fixed"}, Instance: "-f",
		Ready:        policy.Ready{PIDFiles: []string{"-p"}, DefaultPIDFile: "{state}/run/{stem}.pid", Timeout: 90 * time.Second},
		Capabilities: []string{"KILL", "NET_RAW"}, PIDNamespace: "host", User: "root", Environment: []string{"A={uid}:{gid}"},
		Restart:  policy.Restart{When: "on-failure", Delay: 2500 * time.Millisecond, Limit: 7, Interval: time.Hour},
		Limits:   policy.Limits{MemoryMax: 64 << 20, TasksMax: 16, CPUWeight: 50, CPUMax: 150},
		FilesMax: 256, OOMScoreAdjust: pointer(-500),
		Mounts: []policy.ProfileMount{{State: true, Path: "run", Writable: true}, {Path: "/etc/x", Optional: true}},
	}
	if diff := cmp.Diff(want, profile, cmpopts.IgnoreUnexported(policy.Profile{})); diff != "" {
		t.Errorf("profile (-want +got):\n%s", diff)
	}
	agent, _ := set.Agent("a")
	wantAgent := &policy.Agent{
		Name: "a", Profiles: []string{"x"}, NetworkNamespaces: []string{"x-*"}, StateDirectories: []string{"/srv/x"},
		Subdirectories: []string{"c", "."}, HostNetwork: true, MaxSidecars: 7, StandIns: true, SpoolUser: pointer(uint32(4294967294)),
		SidecarUser: policy.User{UID: 4711, GID: 4711}, SELinuxLevel: "s0:c4", LinkedNamespaces: "refuse",
		Limits: policy.Limits{MemoryMax: 2 << 30, TasksMax: 9, CPUWeight: 1, CPUMax: 1},
		Images: map[string]string{"x": "localhost/other:2"},
	}
	if diff := cmp.Diff(wantAgent, agent); diff != "" {
		t.Errorf("agent (-want +got):\n%s", diff)
	}
	decision, err := set.Decide(policy.Request{Agent: "a", Profile: "x", Arguments: []string{"-f", "/srv/x/c/y.conf"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := profile.EnvironmentOf(policy.User{UID: 1, GID: 2}); len(got) != 1 || got[0] != "A=1:2" {
		t.Errorf("environment %q", got)
	}
	wantMounts := []document.Mount{
		{Path: "/etc/x", Optional: true},
		{Root: "/srv/x", Path: "c"},
		{Root: "/srv/x", Path: "run", Writable: true},
	}
	if diff := cmp.Diff(wantMounts, decision.Mounts, withoutGiven); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
}

func TestPolicyLoadDefaults(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "profiles.d", "x.toml"), goodProfile)
	write(t, filepath.Join(dir, "agents.d", "a.toml"), goodAgent)
	set := load(t, dir)
	profile, _ := set.Profile("x")
	want := &policy.Profile{
		Name: "x", Description: "a test", Image: "localhost/x:1", Engine: "podman", Command: []string{"/bin/x"}, Instance: "-f",
		Ready: policy.Ready{Process: true, Timeout: 30 * time.Second}, PIDNamespace: "private", Syslog: true,
		Restart: policy.Restart{When: "no", Delay: time.Second, Limit: 5, Interval: 10 * time.Minute},
	}
	if diff := cmp.Diff(want, profile, cmpopts.IgnoreUnexported(policy.Profile{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if agent, _ := set.Agent("a"); agent.MaxSidecars != 1000 || agent.HostNetwork || agent.SidecarUser.String() != "42435:42435" || agent.LinkedNamespaces != "warn" {
		t.Errorf("agent: %+v", agent)
	}
	if set.Warnings() != nil {
		t.Errorf("warnings: %q", set.Warnings())
	}
}
