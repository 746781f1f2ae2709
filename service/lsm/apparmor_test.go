package apparmor

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
		profiles []string
		want     State
		missing  bool
	}{
		"no AppArmor":           {want: State{}},
		"off":                   {enabled: "N\n", profiles: []string{"sidecar.3"}, want: State{}},
		"on":                    {enabled: "Y\n", want: State{On: true}, missing: true},
		"on, with other names":  {enabled: "Y\n", profiles: []string{"sidecars.1", "sidecar", "crun.2"}, want: State{On: true}, missing: true},
		"on, and it is loaded":  {enabled: "Y\n", profiles: []string{"crun.1", "sidecar.17"}, want: State{On: true, Loaded: true}},
		"on, and two of us are": {enabled: "Y", profiles: []string{"sidecar.1", "sidecar.2"}, want: State{On: true, Loaded: true}},
	} {
		sys := t.TempDir()
		if test.enabled != "" {
			place(t, filepath.Join(sys, "module/apparmor/parameters/enabled"), test.enabled)
		}
		for _, profile := range test.profiles {
			place(t, filepath.Join(sys, "kernel/security/apparmor/policy/profiles", profile, "name"), "x")
		}
		got := stateOf(sys)
		if got != test.want || (got.Missing() != "") != test.missing {
			t.Errorf("%s: %+v, want %+v; it says %q", name, got, test.want, got.Missing())
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

// TestAppArmorProfileFile holds the file to the name, and to what the processes of one
// sidecar need with crun, which stacks its label on ours.
func TestAppArmorProfileFile(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(Profile)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"profile " + Profile + " flags=",
		"signal (send,receive) peer=" + Profile + ",",
		"signal (send,receive) peer=" + Profile + "//&**,",
		"signal (send,receive) peer=**//&" + Profile + ",",
	} {
		if !strings.Contains(string(text), line) {
			t.Errorf("it has no line %q", line)
		}
	}
}
