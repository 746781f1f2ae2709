package launcher

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/service/document"
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
		err := checkConfiguration(documentOf(document.Plan{Configuration: &document.Configuration{File: document.File{Root: dir, Path: "conf"}, Refused: map[string]string{"vrrp_script": "because"}}}))
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
		if err := checkConfiguration(documentOf(document.Plan{Configuration: &document.Configuration{File: document.File{Root: dir, Path: name}, Refused: map[string]string{"x": "y"}, PIDFile: "pidfile"}, PIDFiles: []document.File{{Root: dir, Path: "p"}}})); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFieldConfigurationNamesThePIDFile: what is certain never to write the pid file that is
// waited for is refused, and nothing else.
func TestFieldConfigurationNamesThePIDFile(t *testing.T) {
	t.Parallel()
	const none, other = `: pidfile: no line names the pid file, which would never be there: add "pidfile /s/external/x.pid"`, `/s/external/y.pid", and "/s/external/x.pid" is waited for`
	for text, want := range map[string]string{
		"": none,
		"global\n\tlog /dev/log local0\n\tdaemon\n":     none,
		"global\n    #pidfile /s/external/x.pid\n":      none,
		"global\n    # pidfile /s/external/x.pid\n":     none,
		"global\n  pidfiles /s/external/x.pid\n":        none,
		"global\n  pidfile\n":                           none,
		"global\n  pidfile /s/external/y.pid\n":         other,
		"global\n  pidfile \"/s/external/y.pid\"\n":     other,
		"global\n  pidfile /s/external/x.pid\n":         "",
		"global\n\tpidfile\t/s/external/x.pid # ours\n": "",
		"global\n\t\"pidfile\" '/s/external/x.pid'\r\n": "",
		"global\n\tpid\\file /s/external/x.pid\n":       "",
		"pidfile /another/spelling/x.pid\n":             "",
		"pidfile \"${DIR}/${NAME}\"\n":                  "",
		"\"${WORD}\" /s/external/x.pid\n":               "",
		strings.Repeat("#\n", maxConfiguration/2):       "",
		strings.Repeat("x", maxConfiguration+1):         "",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "conf"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := checkConfiguration(documentOf(document.Plan{Configuration: &document.Configuration{File: document.File{Root: dir, Path: "conf"}, PIDFile: "pidfile"}, PIDFiles: []document.File{{Root: "/s", Path: "external/x.pid"}}}))
		if (err == nil) != (want == "") || err != nil && !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%.60q: %v, want %q", text, err, want)
		}
	}
}
