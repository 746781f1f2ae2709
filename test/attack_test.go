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
	writable   string   // directory in which the program may write
}

// attack runs an attack in a sidecar of a shipped profile, and returns what each of
// its tries got: "ok", an error's name such as EPERM, or what the attack says. The
// sidecar is stopped when the test ends.
func attack(t *testing.T, profile, name string, arguments ...string) map[string]string {
	t.Helper()
	return targetOf(t, profile).attack(t, name, arguments...)
}

// targetOf installs a shipped profile (dnsmasq, keepalived or haproxy) with the
// attack's image, and with more lines at its end, for the time of the test.
func targetOf(t *testing.T, profile string, lines ...string) target {
	t.Helper()
	if err := makeAttackImage(); err != nil {
		t.Fatal(err)
	}
	withPolicy(t, "profiles.d", profile, attackProfile(t, profile, lines...))
	switch profile {
	case "dnsmasq":
		return dnsmasqTarget(t)
	case "keepalived":
		return keepalivedTarget(t)
	case "haproxy":
		return haproxyTarget(t)
	}
	t.Fatalf("no target %s: add it to targetOf", profile)
	return target{}
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

func dnsmasqTarget(t *testing.T) target {
	t.Helper()
	n := bareNetwork(t)
	if err := os.Chown(n.directory, neutronUser, neutronUser); err != nil {
		t.Fatal(err)
	}
	return target{neutron, n.parameters(), n.directory, []string{n.file("pid")}, n.directory}
}

func keepalivedTarget(t *testing.T) target {
	t.Helper()
	k, configuration, _ := newKeepalived(t)
	return target{k.agent, k.parameters(), filepath.Dir(configuration), k.pidFiles, filepath.Dir(k.pidFiles[0])}
}

func haproxyTarget(t *testing.T) target {
	t.Helper()
	agent, r := withL3(t), newRouter(t)
	configuration := place(t, "ns-metadata-proxy") + "/" + r.id + ".conf"
	pids := place(t, "external/pids")
	write(t, configuration, "")
	k := kind{agent: agent, profile: "haproxy", namespace: r.namespace, arguments: []string{"-f", configuration}}
	return target{agent, k.parameters(), filepath.Dir(configuration), []string{pids + "/" + r.id + ".pid.haproxy"}, pids}
}

// attack launches the sidecar, waits until the attack is over, and returns what it
// got. What the program writes in a private mount is seen only through its root.
func (a target) attack(t *testing.T, name string, arguments ...string) map[string]string {
	t.Helper()
	o := order{Attack: name, Arguments: arguments, PIDFiles: a.pidFiles, Result: a.writable + "/attack-result.json"}
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(a.order, orderFile), string(text))
	s, err := as(t, a.agent).Launch(minute(t), a.parameters)
	if err != nil {
		t.Fatalf("launch: %v", err)
	}
	stopAtEnd(t, a.agent, s.ID)
	var result map[string]string
	eventually(t, 10*time.Second, "the attack is over", func() bool {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/root%s", *s.Runtime.ProcessID, o.Result))
		return err == nil && json.Unmarshal(text, &result) == nil
	})
	if trouble, failed := result[attackFailed]; failed {
		t.Fatalf("the attack %s: %s", name, trouble)
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
	if err != nil {
		return err
	}
	_, err = output("bash", "-c", `set -o pipefail; tar -C "$0" -c . | podman import -q - "$1"`, root, attackImage)
	return err
})
