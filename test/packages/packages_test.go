//go:build testhost

package packages

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
)

const (
	agent    = "packager"
	state    = "/var/lib/packager"
	netns    = "t-packages"
	sidecars = 20
)

const agentFile = `profiles = ["probe", "quick"]
network-namespaces = ["t-*"]
state-directories = ["/var/lib/packager"]
`

// profileFile is a profile of a shell that writes its pid file and waits.
func profileFile(engine string) string {
	return `engine = "` + engine + `"
description = "for tests"
image = "localhost/neutron-sidecars:1"
command = ["/bin/sh", "-c", '''for a; do f=${a#*=}; done; trap "exit 0" TERM; echo $$ >$f; while :; do sleep 3600 & wait; done''', "payload"]
instance = "--pid-file"
ready = { pid-file = "--pid-file", timeout = "60s" }
arguments = ["--pid-file={path:rw}"]
boot = "restore"
`
}

// tool is a packager and its commands.
type tool struct {
	name                     string
	install, upgrade, remove []string
	purge                    []string // nil: there is no such thing
}

var tools = []tool{
	{
		name: "deb", install: []string{"dpkg", "-i"}, upgrade: []string{"dpkg", "-i"},
		remove: []string{"dpkg", "-r", "sidecar"}, purge: []string{"dpkg", "-P", "sidecar"},
	},
	{
		// The host's own podman and systemd are no rpm packages.
		name: "rpm", install: []string{"rpm", "-i", "--nodeps"}, upgrade: []string{"rpm", "-U", "--nodeps", "--oldpackage"},
		remove: []string{"rpm", "-e", "sidecar"},
	},
}

// TestPackages goes through the life of an installation, with sidecars of both engines.
func TestPackages(t *testing.T) {
	for _, tool := range tools {
		t.Run(tool.name, func(t *testing.T) { life(t, tool) })
	}
}

func life(t *testing.T, tool tool) {
	older, newer := packageOf(t, "older", tool.name), packageOf(t, "newer", tool.name)
	run(t, append(tool.install, older)...)
	checkInstalled(t)
	versions := map[string]string{older: version(t)}
	installPolicy(t)
	var before []string
	for i := range sidecars {
		before = append(before, identity(launch(t, []string{"probe", "quick"}[i%2], i)))
	}

	checkOtherHost(t)
	for _, step := range []struct{ what, file string }{{"upgrade", newer}, {"downgrade", older}} {
		calls := startCalls(t)
		run(t, append(tool.upgrade, step.file)...)
		calls.end(t, step.what)
		if now := identities(t, sidecars); !slices.Equal(now, before) {
			t.Errorf("%s: sidecars %v, before %v", step.what, now, before)
		}
		versions[step.file] = version(t)
		checkInstalled(t)
	}
	if versions[older] != "0.0.1" || versions[newer] != "0.0.2" {
		t.Errorf("versions of the programs by package: %v", versions)
	}

	out, err := exec.Command(tool.remove[0], tool.remove[1:]...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "sidecarctl stop") || !strings.Contains(string(out), "20 sidecars") {
		t.Errorf("removing it while sidecars run: %v, %s", err, out)
	}
	if now := identities(t, sidecars); !slices.Equal(now, before) {
		t.Errorf("a refused removal: sidecars %v, before %v", now, before)
	}
	if version(t) != "0.0.1" {
		t.Error("a refused removal: the service has another version")
	}
	// A clean-up that was killed has left an agent's directory mounted.
	planted := "/run/sidecar/launch/" + agent + ".probe.0123456789ab/mounts/0"
	precious := state + "/precious"
	write(t, precious, "the agent's")
	run(t, "mkdir", "-p", planted)
	run(t, "mount", "--bind", state, planted)
	t.Setenv("SIDECAR_STOP", "1")
	run(t, tool.remove...)
	checkRemoved(t)
	if text, err := os.ReadFile(precious); err != nil || string(text) != "the agent's" {
		t.Errorf("a removal has touched the agent's files: %v", err)
	}
	run(t, append(tool.install, newer)...)
	checkInstalled(t)
	if s := launch(t, "probe", 0); s.Runtime.State != interfaces.StateReady {
		t.Errorf("after another installation a sidecar is %s", s.Runtime.State)
	}
	run(t, tool.remove...)
	checkRemoved(t)
	if tool.purge == nil {
		for _, path := range []string{"/etc/sidecar", "/var/lib/sidecar"} {
			if err := os.RemoveAll(path); err != nil { // for the next packager
				t.Error(err)
			}
		}
		return
	}
	for _, path := range []string{"/etc/sidecar/agents.d/" + agent + ".toml", "/var/lib/sidecar"} {
		if _, err := os.Stat(path); err != nil {
			t.Errorf("a removal that is no purge: %v", err)
		}
	}
	run(t, tool.purge...)
	for _, path := range []string{"/etc/sidecar", "/var/lib/sidecar", "/etc/apparmor.d/sidecar"} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is here after a purge", path)
		}
	}
}

// installPolicy makes an agent, its profiles, its directories and its network namespace.
func installPolicy(t *testing.T) {
	t.Helper()
	write(t, "/etc/sidecar/agents.d/"+agent+".toml", agentFile)
	write(t, "/etc/sidecar/profiles.d/probe.toml", profileFile("podman"))
	write(t, "/etc/sidecar/profiles.d/quick.toml", profileFile("runtime"))
	for i := range sidecars + len(callers) {
		if err := os.MkdirAll(filepath.Dir(pidFile(i)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "ip", "netns", "add", netns)
	t.Cleanup(func() { run(t, "ip", "netns", "delete", netns) })
	run(t, "systemctl", "reload", "sidecard")
}

func packageOf(t *testing.T, age, format string) string {
	t.Helper()
	files, err := filepath.Glob("/srv/packages/" + age + "/sidecar?[0-9]*." + format)
	if err != nil || len(files) != 1 {
		t.Fatalf("the %s %s: %v, %v", age, format, files, err)
	}
	return files[0]
}

func checkInstalled(t *testing.T) {
	t.Helper()
	for _, unit := range []string{"is-enabled", "is-active"} {
		if out, err := exec.Command("systemctl", unit, "sidecard").CombinedOutput(); err != nil {
			t.Errorf("%s: %s", unit, out)
		}
	}
	if out, err := exec.Command("getent", "passwd", "42435").Output(); err == nil {
		t.Errorf("user 42435, which agents' containers may call neutron, has the name %s", out)
	}
	for _, path := range []string{
		"/run/netns", "/usr/share/man/man8/sidecard.8.gz", "/usr/share/bash-completion/completions/sidecarctl",
		"/usr/share/zsh/site-functions/_sidecarctl", "/usr/share/fish/vendor_completions.d/sidecarctl.fish",
	} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	run(t, "sidecarctl", "check")
	run(t, "busctl", "introspect", "io.tripleo.Sidecar1", "/io/tripleo/Sidecar1")
}

// checkOtherHost calls the service with --host. The other host is this one.
func checkOtherHost(t *testing.T) {
	t.Helper()
	run(t, "sh", "-c", `mkdir -p -m 700 /root/.ssh && cd /root/.ssh && rm -f id_ed25519 && ssh-keygen -q -t ed25519 -N "" -f id_ed25519 &&
		cp id_ed25519.pub authorized_keys && systemctl start ssh && ssh-keyscan -T 20 127.0.0.1 >known_hosts`)
	const host = "--host=root@127.0.0.1"
	if got := run(t, "sidecarctl", host, "list", "--output=json"); strings.Count(got, `"processId"`) != sidecars {
		t.Errorf("the other host lists %s", got)
	}
	id := interfaces.NewID(agent, "quick", pidFile(1)).String()
	if local, other := run(t, "sidecarctl", "show", id, "--output=json"), run(t, "sidecarctl", host, "show", id, "--output=json"); local != other {
		t.Errorf("the other host shows %s, this one %s", other, local)
	}
	if out, err := exec.Command("sidecarctl", "--host=nobody@127.0.0.1", "list").CombinedOutput(); err == nil {
		t.Errorf("another user, without a key: %s", out)
	}
}

func checkRemoved(t *testing.T) {
	t.Helper()
	for what, out := range map[string]string{
		"unit":      run(t, "systemctl", "list-units", "--plain", "--no-legend", "sidecar*"),
		"container": run(t, "podman", "ps", "-aq"),
		"pod":       run(t, "podman", "pod", "ls", "-q"),
		"mount":     strings.Join(mountsBelow(t, "/run/sidecar"), " "),
		"process":   processes(t),
	} {
		if out != "" {
			t.Errorf("a %s is left: %s", what, out)
		}
	}
	for _, path := range []string{"/usr/libexec/sidecar/sidecard", "/usr/bin/sidecarctl", "/run/sidecar"} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is left", path)
		}
	}
}

func mountsBelow(t *testing.T, directory string) (found []string) {
	t.Helper()
	for target := range strings.Lines(run(t, "findmnt", "-rno", "TARGET") + "\n") {
		if target = strings.TrimSpace(target); strings.HasPrefix(target, directory) {
			found = append(found, target)
		}
	}
	return found
}

// processes lists the payloads that run.
func processes(t *testing.T) string {
	t.Helper()
	out, _ := exec.Command("pgrep", "-f", "--", "--pid-file="+state).Output()
	return strings.TrimSpace(string(out))
}

// calls are callers that go on while something else happens.
type calls struct {
	stop    chan struct{}
	running sync.WaitGroup
	mu      sync.Mutex
	made    int
	failed  []error
}

// callers launch and stop a sidecar of a profile again and again; the last one lists.
var callers = []string{"probe", "quick", ""}

func startCalls(t *testing.T) *calls {
	t.Helper()
	c := &calls{stop: make(chan struct{})}
	for i, profile := range callers {
		c.running.Go(func() {
			for {
				select {
				case <-c.stop:
					return
				default:
				}
				err := round(t, profile, sidecars+i)
				c.mu.Lock()
				c.made++
				if err != nil {
					c.failed = append(c.failed, err)
				}
				c.mu.Unlock()
			}
		})
	}
	return c
}

// round launches and stops a sidecar of the profile, or lists all of them.
func round(t *testing.T, profile string, number int) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := connect(t)
	if profile == "" {
		_, err := c.List(ctx, interfaces.ListParameters{})
		return err
	}
	s, err := c.Launch(ctx, parameters(profile, number))
	if err != nil {
		return fmt.Errorf("launch %s: %w", profile, err)
	}
	if _, err = c.Stop(ctx, interfaces.StopParameters{ID: s.ID}); err != nil {
		return fmt.Errorf("stop %s: %w", profile, err)
	}
	return nil
}

func (c *calls) end(t *testing.T, what string) {
	t.Helper()
	time.Sleep(2 * time.Second)
	close(c.stop)
	c.running.Wait()
	t.Logf("%s: %d rounds of calls, errors: %v", what, c.made, c.failed)
	if len(c.failed) > 0 || c.made == 0 {
		t.Errorf("%s: %d of %d rounds of calls failed", what, len(c.failed), c.made)
	}
}

func connect(t *testing.T) *client.Client {
	c, err := client.New("unix:/run/sidecar/agents/" + agent + "/io.tripleo.Sidecar")
	if err != nil {
		t.Error(err)
	}
	return c
}

func pidFile(number int) string { return fmt.Sprintf("%s/%d/pid", state, number) }

func parameters(profile string, number int) interfaces.LaunchParameters {
	return interfaces.LaunchParameters{Profile: profile, NetworkNamespace: new(netns), Arguments: []string{"--pid-file=" + pidFile(number)}}
}

func launch(t *testing.T, profile string, number int) *interfaces.Sidecar {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := connect(t).Launch(ctx, parameters(profile, number))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// identity changes when a sidecar is started again.
func identity(s *interfaces.Sidecar) string {
	return fmt.Sprint(s.ID, " ", *s.Runtime.InvocationID, " ", *s.Runtime.ProcessID)
}

// identities returns the identities of the first sidecars, which run all the time.
func identities(t *testing.T, count int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var all []string
	for i := range count {
		s, err := connect(t).Get(ctx, interfaces.NewID(agent, []string{"probe", "quick"}[i%2], pidFile(i)).String())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, identity(s))
	}
	return all
}

// version returns the version of the service that runs. The tool must have the same one.
func version(t *testing.T) string {
	t.Helper()
	var v struct {
		Sidecarctl string
		Service    struct{ Version string }
	}
	if err := json.Unmarshal([]byte(run(t, "sidecarctl", "version", "--output=json")), &v); err != nil {
		t.Fatal(err)
	}
	if v.Sidecarctl != v.Service.Version {
		t.Errorf("the tool is %s, the service that runs %s", v.Sidecarctl, v.Service.Version)
	}
	return v.Service.Version
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
	return strings.TrimSpace(string(out))
}
