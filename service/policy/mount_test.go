package policy

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/service/document"
)

func TestPolicyMountsOfOneDirectoryAreJoined(t *testing.T) {
	t.Parallel()
	type given struct{ writable, optional bool }
	for _, test := range []struct{ a, b, want given }{
		{given{false, false}, given{true, false}, given{true, false}},
		{given{false, true}, given{false, false}, given{false, false}},
		{given{true, true}, given{false, false}, given{true, false}},
		{given{false, true}, given{true, true}, given{true, true}},
	} {
		for _, order := range [][2]given{{test.a, test.b}, {test.b, test.a}} {
			m := mounts{}
			for _, given := range order {
				m.add(document.Mount{Root: "/srv/x", Path: "a", Writable: given.writable, Optional: given.optional})
			}
			want := []document.Mount{{Root: "/srv/x", Path: "a", Writable: test.want.writable, Optional: test.want.optional}}
			if diff := cmp.Diff(want, m.list()); diff != "" {
				t.Errorf("%v (-want +got):\n%s", order, diff)
			}
		}
	}
}

func TestHardeningMountGiven(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		mount document.Mount
		want  bool
	}{
		{document.Mount{Given: true, Writable: true}, true},
		{document.Mount{Given: true, Writable: true, Private: true}, false},
		{document.Mount{Given: true}, false},
		{document.Mount{Writable: true}, false},
	} {
		m := mounts{}
		m.add(test.mount)
		if got := m.list(); got[0].Given != test.want {
			t.Errorf("%+v: %t, want %t", test.mount, got[0].Given, test.want)
		}
	}
}

func TestPolicyStateMountIsOnlyTheInstancesOwn(t *testing.T) {
	t.Parallel()
	const document = `description = "a test"
image = "localhost/x:1"
command = ["/bin/x"]
instance = "-f"
ready = { process = true }
mounts = ["{state}:ro"]
arguments = ["-f {path:ro}", "-o {path:ro}", "-w {path:rw}"]
`
	r := &report{file: "x.toml"}
	p := parseProfile(r, "x", []byte(document))
	if len(r.problems) > 0 {
		t.Fatal(r.problems)
	}
	a := &Agent{StateDirectories: []string{"/srv/a", "/srv/b"}}
	for _, test := range []struct {
		option, path string
		refused      bool
	}{
		{"-o", "/srv/a/file", false},
		{"-o", "/srv/b/file", true}, // only /srv/a is mounted
		{"-o", "/srv/b/dir/file", false},
		{"-w", "/srv/a/file", true}, // /srv/a is not writable
	} {
		_, refusal := decide(a, p, []string{"-f", "/srv/a/x", test.option, test.path})
		if (refusal != nil) != test.refused {
			t.Errorf("%s %s: refusal %+v", test.option, test.path, refusal)
		}
	}
}
