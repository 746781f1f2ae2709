package lsm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tripleo.io/sidecar/internal/paths"
)

func TestSELinuxState(t *testing.T) {
	t.Parallel()
	for enforce, want := range map[string]SELinux{
		"":  {},
		"0": {On: true},
		"1": {On: true, Enforcing: true},
	} {
		root := t.TempDir()
		place(t, filepath.Join(root, "usr/libexec/sidecar/sidecard"), "")
		if enforce != "" {
			place(t, filepath.Join(root, "sys/fs/selinux/enforce"), enforce)
		}
		got := selinuxOf(root)
		if got != want || (got.Missing() != "") != want.On {
			t.Errorf("enforce %q: %+v, want %+v; it says %q", enforce, got, want, got.Missing())
		}
	}
	if got := (SELinux{On: true, Enforcing: true, Labelled: true}); got.Missing() != "" || got.String() != "enforcing, with the policy module sidecar" {
		t.Errorf("%v; it says %q", got, got.Missing())
	}
}

// TestSELinuxModuleLabelsThePrograms holds the module to what make install installs.
func TestSELinuxModuleLabelsThePrograms(t *testing.T) {
	t.Parallel()
	module, err := os.ReadFile("sidecar.cil")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`(filecon "/usr/libexec/sidecar/sidecard" file (system_u object_r ` + daemonType + ` `,
		`(filecon "/usr/libexec/sidecar/sidecar-launch" file (system_u object_r sidecar_launch_exec_t `,
		"(type " + PayloadType + ")",
		`(filecon "/run/sidecar(/.*)?" any (system_u object_r sidecar_runtime_t `,
	} {
		if !strings.Contains(string(module), line) {
			t.Errorf("it has no line %q", line)
		}
	}
	script, err := os.ReadFile("../../scripts/install")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(script), "service/lsm/"+filepath.Base(paths.SELinuxModule)) {
		t.Errorf("make install does not install %s", paths.SELinuxModule)
	}
}
