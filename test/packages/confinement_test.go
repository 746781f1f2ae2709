//go:build testhost

package packages

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/test/denials"
)

// TestConfinementOfPackages goes through the life of the installation that the machine was set up
// with (test/images.toml), where AppArmor or SELinux is (make vm-test): the packages load, keep and
// unload the policies.
func TestConfinementOfPackages(t *testing.T) {
	m := moduleOf()
	if m == nil {
		t.Skip("this host has neither AppArmor nor SELinux: make vm-test has machines with them")
	}
	t.Cleanup(func() {
		if err := denials.Check(); err != nil {
			t.Error(err)
		}
	})
	older, newer := packageOf(t, "older", "deb"), packageOf(t, "newer", "deb")
	checkInstalled(t)
	checkConfined(t, m)
	installPolicy(t)
	if m.name == "SELinux" { // as whoever sets up such a host does
		run(t, "chcon", "-R", "-t", "container_file_t", state)
	}
	var before []string
	for i, profile := range []string{"probe", "quick"} {
		s := launch(t, profile, i)
		before = append(before, identity(s))
		if label := labelOf(t, int(*s.Runtime.ProcessID)); !strings.Contains(label, m.payload) {
			t.Errorf("the label of %s is %q, want %s", profile, label, m.payload)
		}
	}
	for _, file := range []string{older, newer} {
		if file == newer && !m.forgetDaemon(t) {
			break // one change of the version will do: an emulated machine loads SELinux's module in minutes
		}
		run(t, "dpkg", "-i", file)
		checkConfined(t, m)
		if now := identities(t, len(before)); !slices.Equal(now, before) {
			t.Errorf("after the installation of %s the sidecars are %v, before %v", file, now, before)
		}
	}
	if out, err := exec.Command("dpkg", "-r", "sidecar").CombinedOutput(); err == nil {
		t.Errorf("removed while sidecars run: %s", out)
	}
	checkConfined(t, m)
	t.Setenv("SIDECAR_STOP", "1")
	run(t, "dpkg", "-r", "sidecar")
	checkRemoved(t)
	checkUnloaded(t, m)
	run(t, "dpkg", "-i", newer)
	checkInstalled(t)
	checkConfined(t, m)
	if s := launch(t, "probe", 0); s.Runtime.State != interfaces.StateReady {
		t.Errorf("after another installation a sidecar is %s", s.Runtime.State)
	}
	run(t, "dpkg", "-P", "sidecar")
	checkRemoved(t)
	checkUnloaded(t, m)
}

// module is a security module of the host.
type module struct {
	name            string
	daemon, payload string // parts of the labels
	loaded          func(t *testing.T) []string
	policies        []string // what loaded returns of sidecar's
}

// moduleOf returns the host's security module, or nil.
func moduleOf() *module {
	if text, _ := os.ReadFile("/sys/module/apparmor/parameters/enabled"); strings.TrimSpace(string(text)) == "Y" {
		return &module{
			name: "AppArmor", daemon: "sidecard (enforce)", payload: "sidecar",
			policies: []string{"sidecar (enforce)", "sidecard (enforce)"},
			loaded: func(t *testing.T) []string {
				t.Helper()
				return ours(run(t, "cat", "/sys/kernel/security/apparmor/profiles"))
			},
		}
	}
	if _, err := os.Stat("/sys/fs/selinux/enforce"); err == nil {
		return &module{
			name: "SELinux", daemon: ":sidecard_t:", payload: ":sidecar_payload_t:", policies: []string{"sidecar"},
			loaded: func(t *testing.T) []string {
				t.Helper()
				return ours(run(t, "semodule", "-l"))
			},
		}
	}
	return nil
}

// ours returns the lines that are about sidecar, in order.
func ours(text string) (lines []string) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "sidecar") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	slices.Sort(lines)
	return lines
}

// checkConfined finds the policies loaded, the daemon confined and the files labelled.
func checkConfined(t *testing.T, m *module) {
	t.Helper()
	if got := m.loaded(t); !slices.Equal(got, m.policies) {
		t.Errorf("%s has loaded %q, want %q", m.name, got, m.policies)
	}
	if label := labelOf(t, daemon(t)); !strings.Contains(label, m.daemon) {
		t.Errorf("the label of the service is %q, want %s", label, m.daemon)
	}
	if got := run(t, "sidecarctl", "check"); strings.Contains(got, "apparmor_parser") || strings.Contains(got, "semodule") {
		t.Errorf("check says %s", got)
	}
	if m.name == "SELinux" {
		if out := run(t, "restorecon", "-nRv", "/usr/libexec/sidecar", "/etc/sidecar", "/var/lib/sidecar"); out != "" {
			t.Errorf("files with other labels: %s", out)
		}
	}
}

func checkUnloaded(t *testing.T, m *module) {
	t.Helper()
	if got := m.loaded(t); len(got) > 0 {
		t.Errorf("%s has %q after a removal", m.name, got)
	}
	if left, _ := filepath.Glob("/var/cache/apparmor/*/sidecar*"); len(left) > 0 {
		t.Errorf("the profiles' cache is left: %q", left)
	}
}

// forgetDaemon makes the host one that has had a version without the daemon's profile, with
// AppArmor. SELinux's module has had the daemon's type from the start.
func (m *module) forgetDaemon(t *testing.T) bool {
	t.Helper()
	if m.name != "AppArmor" {
		return false
	}
	write(t, "/sys/kernel/security/apparmor/.remove", "sidecard")
	run(t, "systemctl", "restart", "sidecard")
	if label := labelOf(t, daemon(t)); label != "unconfined" {
		t.Errorf("without its profile the service is %q", label)
	}
	if got := run(t, "sidecarctl", "check"); !strings.Contains(got, "apparmor_parser") {
		t.Errorf("check says nothing of it: %s", got)
	}
	return true
}

func daemon(t *testing.T) (pid int) {
	t.Helper()
	if _, err := fmt.Sscan(run(t, "systemctl", "show", "-P", "MainPID", "sidecard"), &pid); err != nil {
		t.Fatal(err)
	}
	return pid
}

func labelOf(t *testing.T, pid int) string {
	t.Helper()
	label, err := os.ReadFile(fmt.Sprintf("/proc/%d/attr/current", pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Trim(string(label), "\n\x00")
}
