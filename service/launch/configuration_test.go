package launch

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFieldConfigurationIsLookedThrough(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"vrrp_instance VR_7 {\n    track_script {\n        x\n    }\n}\n": "",
		"global_defs {\n}\n\tvrrp_script health {\n}\n":                   "conf:3: vrrp_script: because",
		"vrrp_script{\n":           "conf:1: vrrp_script: because",
		"vrrp_script\thealth\r\n":  "conf:1: vrrp_script: because",
		"# vrrp_script health {\n": "",
		"":                         "",
		strings.Repeat("x", maxConfiguration+1) + "\nvrrp_script x {\n": "",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "conf"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := (&Configuration{File: File{Root: dir, Path: "conf"}, Refused: map[string]string{"vrrp_script": "because"}}).check()
		if (err == nil) != (want == "") || err != nil && !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%.60q: %v, want %q", text, err, want)
		}
	}
}

// TestFieldConfigurationThatIsNoFile: what could keep us waiting is not opened, and what is
// missing is the program's business.
func TestFieldConfigurationThatIsNoFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "directory"), 0o700); err != nil {
		t.Fatal(err)
	}
	must(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	if err := os.Symlink("/dev/zero", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"directory", "fifo", "link", "missing"} {
		if err := (&Configuration{File: File{Root: dir, Path: name}, Refused: map[string]string{"x": "y"}}).check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
