package launch

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const testID = "neutron-dhcp.dnsmasq.0123456789ab"

// fullPlan uses every field.
func fullPlan() Plan {
	return Plan{
		ID:               testID,
		NetworkNamespace: "qdhcp-1",
		Mounts: []Mount{
			{Root: "/var/lib/neutron", Path: "dhcp/<1>", Writable: true},
			{Root: "/var/lib/neutron", Path: ".", Optional: true},
			{Path: "/etc/x"},
		},
		PIDFiles:     []File{{"/var/lib/neutron", "dhcp/<1>/pid"}},
		Socket:       &File{"/var/lib/neutron", "ctl"},
		PIDNamespace: Private,
	}
}

func TestLaunchPlanComesBackAsItWas(t *testing.T) {
	t.Parallel()
	for _, want := range []Plan{fullPlan(), {ID: testID, PIDNamespace: Host}} {
		text, err := Encode(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(text)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", text, err, diff)
		}
		if strings.Contains(text, "\n") || strings.Contains(text, `\u003c`) {
			t.Errorf("not a readable line: %q", text)
		}
	}
}

func TestLaunchPlanDecodeIsStrict(t *testing.T) {
	t.Parallel()
	good := `{"id":"` + testID + `","pidNamespace":"private"}`
	if _, err := Decode(good); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"":                               "EOF",
		"null":                           "is not AGENT",
		"[]":                             "cannot unmarshal",
		good + "{}":                      "something follows",
		good + "x":                       "something follows",
		good[:len(good)-1]:               "EOF",
		`{"privileged":true,` + good[1:]: `unknown field "privileged"`,
	} {
		if _, err := Decode(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", text, err, want)
		}
	}
}

func TestLaunchPlanRefusesWhatIsNotClean(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(*Plan)
		want   string
	}{
		"id empty":            {func(p *Plan) { p.ID = "" }, "is not AGENT"},
		"id with a slash":     {func(p *Plan) { p.ID = "../../../etc/a.b.0123456789ab" }, "is not AGENT"},
		"id of two parts":     {func(p *Plan) { p.ID = "a.0123456789ab" }, "is not AGENT"},
		"id of four parts":    {func(p *Plan) { p.ID = "a.b.c.0123456789ab" }, "is not AGENT"},
		"id with capitals":    {func(p *Plan) { p.ID = "A.b.0123456789ab" }, "is not AGENT"},
		"id with a dash":      {func(p *Plan) { p.ID = "-a.b.0123456789ab" }, "is not AGENT"},
		"id with a long name": {func(p *Plan) { p.ID = strings.Repeat("a", 33) + ".b.0123456789ab" }, "is not AGENT"},
		"id with a bad hash":  {func(p *Plan) { p.ID = "a.b.0123456789aB" }, "is not AGENT"},
		"id with no agent":    {func(p *Plan) { p.ID = ".b.0123456789ab" }, "is not AGENT"},
		"namespace":           {func(p *Plan) { p.NetworkNamespace = "../x" }, "network namespace"},
		"pid namespace":       {func(p *Plan) { p.PIDNamespace = "" }, "pidNamespace"},
		"mount up":            {func(p *Plan) { p.Mounts[0].Path = "../x" }, "mount 0"},
		"mount is up":         {func(p *Plan) { p.Mounts[0].Path = ".." }, "mount 0"},
		"mount not clean":     {func(p *Plan) { p.Mounts[1].Path = "a/../b" }, "mount 1"},
		"mount with a NUL":    {func(p *Plan) { p.Mounts[0].Path = "a\x00" }, "mount 0"},
		"mount absolute":      {func(p *Plan) { p.Mounts[0].Path = "/etc" }, "mount 0"},
		"mount empty":         {func(p *Plan) { p.Mounts[0].Path = "" }, "mount 0"},
		"mount root relative": {func(p *Plan) { p.Mounts[0].Root = "var" }, "mount 0"},
		"mount of all":        {func(p *Plan) { p.Mounts[0].Root = "/" }, "mount 0"},
		"fixed relative":      {func(p *Plan) { p.Mounts[2].Path = "etc/x" }, "mount 2"},
		"given, read-only":    {func(p *Plan) { p.Mounts[1].Given = true }, "mount 1"},
		"given and private":   {func(p *Plan) { p.Mounts[0].Given, p.Mounts[0].Private = true, true }, "mount 0"},
		"fixed root":          {func(p *Plan) { p.Mounts[2].Path = "/" }, "mount 2"},
		"pid file is root":    {func(p *Plan) { p.PIDFiles[0].Path = "." }, "file"},
		"pid file up":         {func(p *Plan) { p.PIDFiles[0].Path = "../pid" }, "file"},
		"pid file no root":    {func(p *Plan) { p.PIDFiles[0].Root = "" }, "file"},
		"pid file too long":   {func(p *Plan) { p.PIDFiles[0].Path = strings.Repeat("a", 4096) }, "file"},
		"socket absolute":     {func(p *Plan) { p.Socket.Path = "/run/x" }, "file"},
		"many mounts":         {func(p *Plan) { p.Mounts = make([]Mount, 65) }, "65 mounts"},
		"many pid files":      {func(p *Plan) { p.PIDFiles = make([]File, 17) }, "17 pid files"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := fullPlan()
			test.change(&p)
			if _, err := Encode(p); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

// TestLaunchPlanTakesAsMuchAsPolicy shows that a plan may have as many mounts and
// pid files as service/policy accepts; its tests have the same numbers.
func TestLaunchPlanTakesAsMuchAsPolicy(t *testing.T) {
	t.Parallel()
	p := fullPlan()
	p.Mounts, p.PIDFiles = slices.Repeat(p.Mounts[:1], 64), slices.Repeat(p.PIDFiles, 16)
	if err := p.Validate(); err != nil {
		t.Error(err)
	}
}

func TestLaunchPathsOfPins(t *testing.T) {
	t.Parallel()
	got := []string{Directory(testID), NetworkNamespacePath(testID), MountPath(testID, 12)}
	want := []string{
		"/run/sidecar/launch/" + testID,
		"/run/sidecar/launch/" + testID + "/netns",
		"/run/sidecar/launch/" + testID + "/mounts/12",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzLaunchPlan(f *testing.F) {
	text, err := Encode(fullPlan())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(`{"id":"a.b.0123456789ab","pidNamespace":"host","mounts":[{"path":"/a/../b"}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Decode(text)
		if err != nil {
			return
		}
		for _, m := range p.Mounts {
			if strings.Contains("/"+m.String()+"/", "/../") {
				t.Errorf("mount %q leads up", m)
			}
		}
		if strings.ContainsAny(p.ID, "/\x00 ") || strings.ContainsAny(p.NetworkNamespace, "/\x00 ") {
			t.Errorf("id %q, namespace %q", p.ID, p.NetworkNamespace)
		}
		if _, err := Encode(p); err != nil {
			t.Errorf("what was decoded cannot be encoded: %v", err)
		}
	})
}
