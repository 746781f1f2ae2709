package podman_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/engine/podman"
	"tripleo.io/sidecar/service/imagestore"
)

func documentOf(change func(*document.Document)) *document.Document {
	d := document.New(interfaces.Context{Arguments: []string{"-a", "$b"}}, []string{"-a", "$b"}, document.Plan{
		ID: "neutron-dhcp.dnsmasq.0123456789ab", Program: "/usr/bin/podman", Image: "localhost/x:1",
		Command: []string{"/usr/sbin/x", "-k"}, User: 5, Group: 6, PIDNamespace: document.Private,
	})
	change(d)
	return d
}

// TestPodmanFlags: each part of a document becomes its flags, and nothing else does.
func TestPodmanFlags(t *testing.T) {
	t.Parallel()
	plain := podman.Engine{}.Command(documentOf(func(*document.Document) {}))
	for name, test := range map[string]struct {
		change func(*document.Document)
		more   []string
		less   []string
	}{
		"seccomp":   {func(d *document.Document) { d.Seccomp = "/f.json" }, []string{"--security-opt=seccomp=/f.json"}, nil},
		"AppArmor":  {func(d *document.Document) { d.AppArmor = "sidecar" }, []string{"--security-opt=apparmor=sidecar"}, nil},
		"SELinux":   {func(d *document.Document) { d.SELinuxLevel, d.SELinuxType = "s0:c1", "t" }, []string{"--security-opt=label=level:s0:c1", "--security-opt=label=type:t"}, nil},
		"runtime":   {func(d *document.Document) { d.Runtime = "/usr/bin/crun" }, []string{"--runtime=/usr/bin/crun"}, nil},
		"image ID":  {func(d *document.Document) { d.ImageID = "0a1b" }, []string{"0a1b"}, []string{"localhost/x:1"}},
		"syslog":    {func(d *document.Document) { d.Syslog = "/s" }, []string{"--mount=type=bind,source=/s,destination=/dev/log,readonly=true"}, nil},
		"tmpfs":     {func(d *document.Document) { d.Tmpfs = []string{"/run"} }, []string{"--tmpfs=/run:rw,noexec,nosuid,nodev,notmpcopyup,size=1m,mode=1777"}, nil},
		"files":     {func(d *document.Document) { d.OpenFiles = 99 }, []string{"--ulimit=nofile=99:99"}, nil},
		"OOM score": {func(d *document.Document) { d.OOMScore = new(0) }, []string{"--oom-score-adj=0"}, nil},
		"pids":      {func(d *document.Document) { d.PIDNamespace = document.Host }, []string{"--pid=host"}, nil},
		"namespace": {func(d *document.Document) { d.Context.NetworkNamespace = new("n") }, []string{"--network=ns:/run/sidecar/launch/neutron-dhcp.dnsmasq.0123456789ab/netns"}, []string{"--network=host"}},
		"tag":       {func(d *document.Document) { d.Context.ProcessTag = new("t") }, []string{"--env=PROCESS_TAG=t"}, nil},
		"rights":    {func(d *document.Document) { d.Capabilities = []string{"NET_RAW"} }, []string{"--cap-add=NET_RAW"}, nil},
		"variables": {func(d *document.Document) { d.Environment = []string{"A=b"} }, []string{"--env=A=b"}, nil},
		"mounts": {func(d *document.Document) {
			d.Mounts = []document.Mount{{Root: "/s", Path: ".", Writable: true}, {Root: "/s", Path: "in"}, {Path: "/etc/x", Target: "/etc/y"}}
		}, []string{
			"--mount=type=bind,source=/run/sidecar/launch/neutron-dhcp.dnsmasq.0123456789ab/mounts/0,destination=/s",
			"--mount=type=bind,source=/run/sidecar/launch/neutron-dhcp.dnsmasq.0123456789ab/mounts/2,destination=/etc/y,readonly=true",
		}, nil},
		"init": {func(d *document.Document) { d.Init = "/i" }, []string{
			"--mount=type=bind,source=/i,destination=/run/sidecar-init,readonly=true",
			`--env=SIDECAR_COMMAND=["/usr/sbin/x","-k","-a","$b"]`, "/run/sidecar-init",
		}, []string{"/usr/sbin/x", "-k", "-a", "$b"}},
	} {
		got := podman.Engine{}.Command(documentOf(test.change))
		without := func(all, those []string) []string {
			return slices.DeleteFunc(slices.Clone(all), func(word string) bool { return slices.Contains(those, word) })
		}
		if diff := cmp.Diff(test.more, without(got, plain)); diff != "" {
			t.Errorf("%s: more flags (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(test.less, without(plain, got)); diff != "" && len(test.less)+len(without(plain, got)) > 0 {
			t.Errorf("%s: fewer flags (-want +got):\n%s", name, diff)
		}
	}
	if tail := plain[len(plain)-6:]; !slices.Equal(tail, []string{"--entrypoint=[]", "localhost/x:1", "/usr/sbin/x", "-k", "-a", "$b"}) {
		t.Errorf("the command ends in %q", tail)
	}
}

// TestPodmanRuntime: the OCI runtime is a global flag of podman run, and of no other command.
func TestPodmanRuntime(t *testing.T) {
	t.Parallel()
	d := documentOf(func(d *document.Document) { d.Runtime = "/opt/x/crun" })
	want := []string{"/usr/bin/podman", "--events-backend=none", "--log-level=error", "--runtime=/opt/x/crun", "run"}
	if got := (podman.Engine{}).Command(d)[:5]; !slices.Equal(got, want) {
		t.Errorf("the command begins with %q", got)
	}
	for _, got := range [][]string{podman.Engine{}.Removal(d), podman.Engine{}.Rename(d)} {
		if slices.Contains(got, "--runtime=/opt/x/crun") {
			t.Errorf("the command is %q", got)
		}
	}
}

// TestPodmanImage: the image's ID is the one that its name has in the store, if it has one.
func TestPodmanImage(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("0b", 32)
	file := filepath.Join(t.TempDir(), "images.json")
	if err := os.WriteFile(file, []byte(`[{"id":"`+id+`","names":["localhost/x:1"]}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	e := podman.Engine{Store: &imagestore.Store{Files: []string{file}}}
	for name, want := range map[string]string{"localhost/x:1": id, "localhost/x": "", "x:1": ""} {
		d := documentOf(func(d *document.Document) { d.Image = name })
		if got, err := e.Make(t.Context(), d); got != want || d.ImageID != want || err != nil {
			t.Errorf("%s: %q, %v, want %q", name, got, err, want)
		}
	}
	e.Store.Files[0] += ".not"
	if got, err := e.Make(t.Context(), documentOf(func(*document.Document) {})); got != "" || err != nil {
		t.Errorf("without a list: %q, %v", got, err)
	}
}

// TestPodmanExec: the OCI runtime and the container are conmon's, and nothing else is asked.
func TestPodmanExec(t *testing.T) {
	t.Parallel()
	d := documentOf(func(*document.Document) {})
	conmon := []string{"/usr/bin/conmon", "--api-version", "1", "-c", "0123", "-u", "4567", "-r", "/usr/bin/runc", "-b", "/x", ""}
	got, err := podman.Engine{}.Exec(d, conmon, "g", []string{"/bin/a", "-b"})
	if want := []string{"/usr/bin/runc", "exec", "--no-new-privs", "--cgroup=g", "0123", "/bin/a", "-b"}; !slices.Equal(got, want) || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for _, other := range [][]string{nil, {""}, {"/usr/sbin/dnsmasq", "-k"}, {"conmon", "-c", "0123", "-r"}} {
		if got, err := (podman.Engine{}).Exec(d, other, "g", []string{"/bin/a"}); err == nil {
			t.Errorf("%q: %q", other, got)
		}
	}
}

// TestPodmanExits: conmon exits with the payload's code, or with 128 and the signal.
func TestPodmanExits(t *testing.T) {
	t.Parallel()
	e := podman.Engine{}
	for code, want := range map[int]int{0: 0, 1: 0, 125: 0, 128: 0, 129: 1, 143: 15, 192: 64, 193: 0, 255: 0} {
		if got := e.Signal(code); got != want {
			t.Errorf("exit code %d: signal %d, want %d", code, got, want)
		}
	}
	if !e.Failed(125) || e.Failed(126) || e.Failed(127) || e.Failed(1) {
		t.Error("podman's own exit code is 125")
	}
}

// TestPodmanIsKnownHereOnly: nothing outside of the engines' folders knows podman, conmon or
// their exit codes, but the configuration of podman's path.
func TestPodmanIsKnownHereOnly(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"../..", "../../launcher", "../../events", "../../document", "../../policy", "../../systemd", "../../varlink"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", dir, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(text)) {
				code, _, _ := strings.Cut(line, "//")
				if !strings.HasSuffix(file, "_test.go") && (strings.Contains(code, "conmon") || strings.Contains(code, "125") || strings.Contains(code, `"podman"`)) {
					t.Errorf("%s: %s", file, line)
				}
			}
		}
	}
}
