//go:build testhost

package test

import (
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// attackImage has this program in the place of the shipped profiles' programs. It
// is made once; a test host lives no longer than this program.
const attackImage = "localhost/attack:1"

// target is a sidecar of a shipped profile whose program is taken over: unit, flags
// and files are the profile's, the program is this one (see payloadMain).
type target struct {
	agent      string
	parameters interfaces.LaunchParameters
	order      string   // directory of the host in which the program finds its order
	pidFiles   []string // what makes it ready
	socket     string   // …or this
	writable   string   // directory in which the program may write
}

// targets make one of each shipped profile, by its name.
var targets = map[string]func(*testing.T) target{
	"conntrackd":     conntrackdTarget,
	"dibbler-client": dibblerTarget,
	"dnsmasq":        dnsmasqTarget,
	"haproxy":        haproxyTarget,
	"keepalived":     keepalivedTarget,
	"radvd":          radvdTarget,
}

// attack runs an attack in a sidecar of a shipped profile, and returns what each of
// its tries got: "ok", an error's name such as EPERM, or what the attack says. The
// sidecar is stopped when the test ends.
func attack(t *testing.T, profile, name string, arguments ...string) map[string]string {
	t.Helper()
	return targetOf(t, profile).attack(t, name, arguments...)
}

// targetOf installs a shipped profile with the attack's image, and with more lines at
// its end, for the time of the test.
func targetOf(t *testing.T, profile string, lines ...string) target {
	t.Helper()
	if err := makeAttackImage(); err != nil {
		t.Fatal(err)
	}
	withPolicy(t, "profiles.d", profile, attackProfile(t, profile, lines...))
	return targets[profile](t)
}

var imageLine = regexp.MustCompile(`(?m)^image\s*=.*$`)

// attackProfile is the shipped file with another image, and more lines.
func attackProfile(t *testing.T, profile string, lines ...string) string {
	t.Helper()
	shipped, err := os.ReadFile(filepath.Join("/usr/share/sidecar/profiles.d", profile+".toml"))
	if err != nil {
		t.Fatal(err)
	}
	text := imageLine.ReplaceAllString(string(shipped), `image = "`+attackImage+`"`)
	for _, line := range lines {
		text += line + "\n"
	}
	return text
}

func conntrackdTarget(t *testing.T) target {
	t.Helper()
	k, dir := newConntrackd(t)
	return target{agent: k.agent, parameters: k.parameters(), order: dir, socket: dir + "/conntrackd.ctl", writable: dir}
}

func dibblerTarget(t *testing.T) target {
	t.Helper()
	agent, r := withL3(t), newRouter(t)
	place(t, "pd")
	dir := place(t, "pd/"+r.id+":"+uuid()+":"+routerInterface)
	k := kind{agent: agent, profile: "dibbler-client", namespace: r.namespace, arguments: []string{"start", "-w", dir}}
	return target{agent: agent, parameters: k.parameters(), order: dir, pidFiles: []string{dir + "/client.pid"}, writable: dir}
}

func radvdTarget(t *testing.T) target {
	t.Helper()
	agent, r := withL3(t), newRouter(t)
	configuration := place(t, "ra") + "/" + r.id + ".radvd.conf"
	pids := place(t, "external/pids")
	write(t, configuration, "")
	pid := pids + "/" + r.id + ".pid.radvd"
	k := kind{agent: agent, profile: "radvd", namespace: r.namespace, arguments: []string{"-C", configuration, "-p", pid, "-m", "syslog"}}
	return target{agent: agent, parameters: k.parameters(), order: filepath.Dir(configuration), pidFiles: []string{pid}, writable: pids}
}

func dnsmasqTarget(t *testing.T) target {
	t.Helper()
	n := bareNetwork(t)
	if err := os.Chown(n.directory, neutronUser, neutronUser); err != nil {
		t.Fatal(err)
	}
	return target{agent: neutron, parameters: n.parameters(), order: n.directory, pidFiles: []string{n.file("pid")}, writable: n.directory}
}

func keepalivedTarget(t *testing.T) target {
	t.Helper()
	k, configuration, _ := newKeepalived(t)
	return target{agent: k.agent, parameters: k.parameters(), order: filepath.Dir(configuration), pidFiles: k.pidFiles, writable: filepath.Dir(k.pidFiles[0])}
}

func haproxyTarget(t *testing.T) target {
	t.Helper()
	agent, r := withL3(t), newRouter(t)
	configuration := place(t, "ns-metadata-proxy") + "/" + r.id + ".conf"
	pids := place(t, "external/pids")
	pid := pids + "/" + r.id + ".pid.haproxy"
	write(t, configuration, "global\n    pidfile "+pid+"\n") // else nothing is started
	k := kind{agent: agent, profile: "haproxy", namespace: r.namespace, arguments: []string{"-f", configuration}}
	return target{agent: agent, parameters: k.parameters(), order: filepath.Dir(configuration), pidFiles: []string{pid}, writable: pids}
}

// attack launches the sidecar, waits until the attack is over, and returns what it got.
func (a target) attack(t *testing.T, name string, arguments ...string) map[string]string {
	t.Helper()
	return a.result(t, a.begin(t, name, arguments...))
}

// begin launches the sidecar with an order.
func (a target) begin(t *testing.T, name string, arguments ...string) *interfaces.Sidecar {
	t.Helper()
	text, err := json.Marshal(order{
		Attack: name, Arguments: arguments, PIDFiles: a.pidFiles, Socket: a.socket, Result: a.resultFile(),
	})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(a.order, orderFile), string(text))
	return launchUp(t, a.agent, a.parameters)
}

func (a target) resultFile() string { return a.writable + "/attack-result.json" }

// result waits until the attack is over. What the program writes in a private mount is
// seen only through its root.
func (a target) result(t *testing.T, s *interfaces.Sidecar) map[string]string {
	t.Helper()
	var result map[string]string
	eventually(t, 10*time.Second, "the attack is over", func() bool {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/root%s", *s.Runtime.ProcessID, a.resultFile()))
		return err == nil && json.Unmarshal(text, &result) == nil
	})
	if trouble, failed := result[attackFailed]; failed {
		t.Fatalf("the attack %s: %s", s.ID, trouble)
	}
	return result
}

// makeAttackImage imports the image once.
var makeAttackImage = sync.OnceValue(func() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	file, err := elf.Open(self)
	if err != nil {
		return err
	}
	defer file.Close()
	if file.Section(".interp") != nil {
		return errors.New("this program is not static: build it with CGO_ENABLED=0")
	}
	root, err := os.MkdirTemp("", "attack")
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)
	programs := filepath.Join(root, "usr/sbin")
	if err := os.MkdirAll(programs, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(root, 0o755); err != nil {
		return err
	}
	if _, err := output("cp", self, filepath.Join(programs, payloads[0])); err != nil {
		return err
	}
	for _, name := range payloads[1:] {
		err = errors.Join(err, os.Link(filepath.Join(programs, payloads[0]), filepath.Join(programs, name)))
	}
	_, copyErr := output("cp", self, root+setUserID)
	err = errors.Join(err, copyErr, os.Chmod(root+setUserID, os.ModeSetuid|0o755))
	if err != nil {
		return err
	}
	_, err = output("bash", "-c", `set -o pipefail; tar -C "$0" -c . | podman import -q - "$1"`, root, attackImage)
	return err
})
