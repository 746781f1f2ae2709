package lsm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAppArmorState(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		enabled  string
		profiles map[string]string // directories, and the names in them
		mode     string
		want     AppArmor
		missing  string
	}{
		"no AppArmor":             {},
		"off":                     {enabled: "N\n", profiles: map[string]string{"sidecar.3": "sidecar\n"}},
		"on":                      {enabled: "Y\n", want: AppArmor{On: true}, missing: "apparmor_parser"},
		"on, with other names":    {enabled: "Y\n", profiles: map[string]string{"sidecars.1": "sidecars\n", "sidecar.foo.1": "sidecar.foo\n", "crun.2": "crun\n"}, want: AppArmor{On: true}, missing: "apparmor_parser"},
		"on, and both are loaded": {enabled: "Y\n", profiles: map[string]string{"crun.1": "crun\n", "sidecar.17": "sidecar\n", "sidecard.18": "sidecard\n"}, mode: "enforce\n", want: AppArmor{On: true, Loaded: true, Daemon: true}},
		"on, without the daemon's": {
			enabled: "Y\n", profiles: map[string]string{"sidecar.17": "sidecar\n"}, mode: "enforce\n", want: AppArmor{On: true, Loaded: true}, missing: "profile sidecard: the service itself",
		},
		"on, with the daemon's alone": {
			enabled: "Y\n", profiles: map[string]string{"sidecard.17": "sidecard\n"}, mode: "enforce\n", want: AppArmor{On: true, Daemon: true}, missing: "profile sidecar: sidecars",
		},
		"on, and they complain": {
			enabled: "Y", profiles: map[string]string{"sidecar.1": "sidecar\n", "sidecard.2": "sidecard\n"}, mode: "complain\n", want: AppArmor{On: true, Loaded: true, Daemon: true, Complains: true}, missing: "aa-enforce",
		},
		"on, and being exchanged": {
			enabled: "Y", profiles: map[string]string{"sidecar.1": "", "sidecar.2": "sidecar\n", "sidecard.3": "sidecard\n"}, mode: "enforce", want: AppArmor{On: true, Loaded: true, Daemon: true},
		},
	} {
		sys := t.TempDir()
		if test.enabled != "" {
			place(t, filepath.Join(sys, "module/apparmor/parameters/enabled"), test.enabled)
		}
		for profile, text := range test.profiles {
			dir := filepath.Join(sys, "kernel/security/apparmor/policy/profiles", profile)
			place(t, filepath.Join(dir, "mode"), test.mode)
			if text != "" {
				place(t, filepath.Join(dir, "name"), text)
			}
		}
		got := apparmorOf(sys)
		if got != test.want || !strings.Contains(got.Missing(), test.missing) || test.missing == "" && got.Missing() != "" {
			t.Errorf("%s: %+v, want %+v; it says %q", name, got, test.want, got.Missing())
		}
	}
}

// TestAppArmorThatCannotBeRead shows that a payload never goes without the profile because
// of an error.
func TestAppArmorThatCannotBeRead(t *testing.T) {
	t.Parallel()
	enabled, profiles := "module/apparmor/parameters/enabled", "kernel/security/apparmor/policy/profiles"
	for name, prepare := range map[string]func(sys string){
		"whether it is on": func(sys string) { place(t, filepath.Join(sys, enabled, "x"), "") },
		"its profiles": func(sys string) {
			place(t, filepath.Join(sys, enabled), "Y")
			place(t, filepath.Join(sys, profiles), "")
		},
		"a profile's name": func(sys string) {
			place(t, filepath.Join(sys, enabled), "Y")
			place(t, filepath.Join(sys, profiles, "sidecar.1/name/x"), "")
		},
	} {
		sys := t.TempDir()
		prepare(sys)
		if got := apparmorOf(sys); !got.Unknown || !got.Wanted() || got.String() != "cannot be read" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func place(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestAppArmorProfileFile holds the file to the names, to the path of the program that
// scripts/install installs, and to what the processes of one sidecar need with crun, which stacks
// its label on ours.
func TestAppArmorProfileFile(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(Profile)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"profile " + Profile + " flags=",
		"profile " + daemonProfile + " /usr/libexec/sidecar/sidecard flags=",
		"include if exists <local/" + daemonProfile + ">",
		"signal (receive) peer=" + daemonProfile + ",",
		"ptrace (readby) peer=" + daemonProfile + ",",
		"signal (send,receive) peer=" + Profile + ",",
		"signal (send,receive) peer=" + Profile + "//&**,",
		"signal (send,receive) peer=**//&" + Profile + ",",
	} {
		if !strings.Contains(string(text), line) {
			t.Errorf("it has no line %q", line)
		}
	}
}
