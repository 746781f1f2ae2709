package testhost

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// writeSpec returns the path of a file with the text.
func writeSpec(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "spec.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSpecIsRead(t *testing.T) {
	t.Parallel()
	got, err := ReadSpec(writeSpec(t, `
packages = ["jq"]
mask     = ["getty@tty1.service"]
[release.trixie]
packages = ["python3-varlink"]
[[image]]
name     = "localhost/tools:1"
programs = ["busybox", "/usr/sbin/dnsmasq"]
files    = ["/etc/passwd", "/etc/*.conf"]
applets  = ["sh", "["]
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Spec{
		Packages: []string{"jq"},
		Mask:     []string{"getty@tty1.service"},
		Release:  map[string]ReleaseSpec{"trixie": {Packages: []string{"python3-varlink"}}},
		Images: []Image{{
			Name:     "localhost/tools:1",
			Programs: []string{"busybox", "/usr/sbin/dnsmasq"},
			Files:    []string{"/etc/passwd", "/etc/*.conf"},
			Applets:  []string{"sh", "["},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
}

func TestSpecRefuses(t *testing.T) {
	t.Parallel()
	const image = "[[image]]\nname = \"localhost/a:1\"\n"
	tests := map[string]struct{ text, want string }{
		"unknown key":        {"packages = []\npakages = []\n", "2| pakages"},
		"wrong type":         {"packages = 7\n", "packages"},
		"option as package":  {`packages = ["--yes"]`, `package "--yes"`},
		"two packages":       {`packages = ["a,b"]`, `package "a,b"`},
		"unit with a slash":  {`mask = ["../x.service"]`, `unit "../x.service"`},
		"unit without a dot": {`mask = ["haproxy"]`, `unit "haproxy"`},
		"odd release":        {"[release.\"a b\"]\npackages = []\n", `release "a b"`},
		"release's package":  {"[release.trixie]\npackages = [\"A\"]\n", `package "A"`},
		"image without tag":  {"[[image]]\nname = \"a\"\nprograms = [\"a\"]\n", `image "a"`},
		"image, no programs": {image, "no programs"},
		"two programs":       {image + `programs = ["a b"]`, `program "a b"`},
		"relative file":      {image + "programs = [\"a\"]\nfiles = [\"etc\"]\n", `file "etc"`},
		"applet with slash":  {image + "programs = [\"a\"]\napplets = [\"a/b\"]\n", `applet "a/b"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := ReadSpec(writeSpec(t, test.text))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v does not say %q", err, test.want)
			}
		})
	}
}

func TestSpecOfProjectIsValid(t *testing.T) {
	t.Parallel()
	spec, err := ReadSpec("../../test/images.toml")
	if err != nil {
		t.Fatal(err)
	}
	if len(spec.Images) == 0 {
		t.Error("the project's specification has no images")
	}
}

func TestSpecPackagesOfRelease(t *testing.T) {
	t.Parallel()
	spec := Spec{
		Packages: []string{"jq", "podman"},
		Release:  map[string]ReleaseSpec{"trixie": {Packages: []string{"zstd"}}},
	}
	count := func(release, name string) int {
		return strings.Count(" "+strings.Join(spec.packages(release), " ")+" ", " "+name+" ")
	}
	got := map[string]int{
		"base twice": count("trixie", "podman"), "common": count("bookworm", "jq"),
		"own": count("trixie", "zstd"), "other's": count("bookworm", "zstd"),
	}
	want := map[string]int{"base twice": 1, "common": 1, "own": 1, "other's": 0}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("how often a package is listed (-want +got):\n%s", diff)
	}
}
