package document

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
)

const testID = "neutron-dhcp.dnsmasq.0123456789ab"

// full uses every part.
func full() *Document {
	return New(interfaces.Context{
		Profile: "dnsmasq", Agent: "neutron-dhcp", Arguments: []string{"--a=<$;`\\\"%>", "-u", "nobody", "-u"},
		NetworkNamespace: new("qdhcp-1"), ProcessTag: new("dnsmasq-1"),
	}, []string{"--a=<$;`\\\"%>", "-u"}, Plan{
		ID: testID, Engine: "podman", Program: "/usr/bin/podman",
		Image: "localhost/x:1", Command: []string{"/usr/sbin/dnsmasq", "-k"}, Environment: []string{"A=b"},
		User: 1, Group: 2, Capabilities: []string{"NET_ADMIN"}, PIDNamespace: Private, Init: "/usr/libexec/sidecar/sidecar-init",
		Seccomp: "/usr/share/sidecar/seccomp.json", AppArmor: "sidecar", SELinuxLevel: "s0:c1,c2", SELinuxType: "sidecar_payload_t",
		Syslog: "/run/systemd/journal/dev-log", Tmpfs: []string{"/run"},
		Mounts: []Mount{
			{Root: "/var/lib/neutron", Path: "dhcp/<1>", Writable: true},
			{Root: "/var/lib/neutron", Path: ".", Optional: true},
			{Path: "/etc/x", Target: "/etc/y"},
		},
		Links:         &Links{Action: LinksWarn, Own: []string{"qdhcp-*"}},
		Configuration: &Configuration{File: File{"/var/lib/neutron", "conf"}, Refused: map[string]string{"a": "b"}, PIDFile: "pidfile"},
		PIDFiles:      []File{{"/var/lib/neutron", "dhcp/<1>/pid"}},
		Socket:        &File{"/var/lib/neutron", "ctl"},
		TimeoutUSec:   30_000_000,
		Health:        &Health{Command: []string{"/bin/x", "<y>"}, IntervalUSec: 1, TimeoutUSec: 2, Failures: 3, Restart: true},
	})
}

func TestDocumentComesBackAsItWas(t *testing.T) {
	t.Parallel()
	for _, want := range []*Document{full(), {Plan: Plan{ID: testID, PIDNamespace: Host}}} {
		variables, err := want.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(append([]string{"PATH=/bin"}, variables...))
		if diff := cmp.Diff(*want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", variables, err, diff)
		}
		if text := strings.Join(variables, " "); strings.Contains(text, "\n") || strings.Contains(text, `\u003c`) {
			t.Errorf("not readable lines: %q", text)
		}
	}
}

// TestDocumentPayload: the payload does not get the arguments that the profile ignores, and
// those that it gets are in the document once.
func TestDocumentPayload(t *testing.T) {
	t.Parallel()
	d := full()
	if diff := cmp.Diff([]string{"/usr/sbin/dnsmasq", "-k", "--a=<$;`\\\"%>", "-u"}, d.Payload()); diff != "" {
		t.Error(diff)
	}
	variables, err := d.Encode()
	if err != nil || strings.Count(strings.Join(variables, ""), "--a=") != 1 {
		t.Errorf("%s, %v", variables, err)
	}
}

func TestDocumentDecodeIsStrict(t *testing.T) {
	t.Parallel()
	good := []string{`SIDECAR_CONTEXT={}`, `SIDECAR_PLAN={"id":"` + testID + `","pidNamespace":"private"}`}
	if _, err := Decode(good); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"":                          "SIDECAR_PLAN is not set",
		"SIDECAR_PLANS={}":          "SIDECAR_PLAN is not set",
		"SIDECAR_PLAN=":             "EOF",
		"SIDECAR_PLAN=null":         "is not AGENT",
		"SIDECAR_PLAN=[]":           "cannot unmarshal",
		good[1] + "{}":              "something follows",
		good[1] + "x":               "something follows",
		good[1][:len(good[1])-1]:    "EOF",
		`SIDECAR_PLAN={"secret":1}`: `unknown field "secret"`,
	} {
		if _, err := Decode([]string{good[0], text}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", text, err, want)
		}
	}
	if _, err := Decode(good[1:]); err == nil || !strings.Contains(err.Error(), "SIDECAR_CONTEXT is not set: only the units of sidecars have it") {
		t.Errorf("without a context: %v", err)
	}
}

func TestDocumentTooLong(t *testing.T) {
	t.Parallel()
	d := full()
	d.Context.Arguments = []string{strings.Repeat("x", maxString)}
	if _, err := d.Encode(); err == nil || !strings.Contains(err.Error(), "; the unit can carry fewer than 131072") {
		t.Error(err)
	}
}

func TestDocumentFields(t *testing.T) {
	t.Parallel()
	fields, err := full().Fields()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range [][2]string{
		{"id", testID},
		{"user", "1"},
		{"ignored", "[2,3]"},
		{"links", `{"action":"warn","own":["qdhcp-*"]}`},
		{"tmpfs", `["/run"]`},
		{"pidFiles", `[{"path":"dhcp/<1>/pid","root":"/var/lib/neutron"}]`},
	} {
		if !slices.Contains(fields, want) {
			t.Errorf("no %q in %q", want, fields)
		}
	}
}

func TestDocumentRefusesWhatIsNotClean(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(*Document)
		want   string
	}{
		"id empty":            {func(p *Document) { p.ID = "" }, "is not AGENT"},
		"id with a slash":     {func(p *Document) { p.ID = "../../../etc/a.b.0123456789ab" }, "is not AGENT"},
		"id of two parts":     {func(p *Document) { p.ID = "a.0123456789ab" }, "is not AGENT"},
		"id of four parts":    {func(p *Document) { p.ID = "a.b.c.0123456789ab" }, "is not AGENT"},
		"id with capitals":    {func(p *Document) { p.ID = "A.b.0123456789ab" }, "is not AGENT"},
		"id with a dash":      {func(p *Document) { p.ID = "-a.b.0123456789ab" }, "is not AGENT"},
		"id with a long name": {func(p *Document) { p.ID = strings.Repeat("a", 33) + ".b.0123456789ab" }, "is not AGENT"},
		"id with a bad hash":  {func(p *Document) { p.ID = "a.b.0123456789aB" }, "is not AGENT"},
		"id with no agent":    {func(p *Document) { p.ID = ".b.0123456789ab" }, "is not AGENT"},
		"namespace":           {func(p *Document) { p.Context.NetworkNamespace = new("../x") }, "network namespace"},
		"no program":          {func(p *Document) { p.Program = "" }, "program is missing"},
		"program relative":    {func(p *Document) { p.Program = "podman" }, "program"},
		"program not clean":   {func(p *Document) { p.Program = "/usr/../podman" }, "program"},
		"init relative":       {func(p *Document) { p.Init = "init" }, "init"},
		"init, host's pids":   {func(p *Document) { p.PIDNamespace = Host }, "pid namespace of its own"},
		"health twice":        {func(p *Document) { p.Health.TCP = "127.0.0.1:1" }, "2 of command, tcp, udp and unix"},
		"health none":         {func(p *Document) { p.Health.Command = nil }, "0 of command, tcp, udp and unix"},
		"health never":        {func(p *Document) { p.Health.IntervalUSec = 0 }, "must be positive"},
		"health relative":     {func(p *Document) { p.Health.Command[0] = "x" }, "absolute"},
		"health of a name":    {func(p *Document) { p.Health = &Health{UDP: "x:1", IntervalUSec: 1, TimeoutUSec: 2, Failures: 3} }, "ADDRESS:PORT"},
		"links":               {func(p *Document) { p.Links.Action = "" }, "links"},
		"no pid file":         {func(p *Document) { p.PIDFiles = nil }, "none is waited for"},
		"pid namespace":       {func(p *Document) { p.PIDNamespace = "" }, "pidNamespace"},
		"mount up":            {func(p *Document) { p.Mounts[0].Path = "../x" }, "mount 0"},
		"mount is up":         {func(p *Document) { p.Mounts[0].Path = ".." }, "mount 0"},
		"mount not clean":     {func(p *Document) { p.Mounts[1].Path = "a/../b" }, "mount 1"},
		"mount with a NUL":    {func(p *Document) { p.Mounts[0].Path = "a\x00" }, "mount 0"},
		"mount absolute":      {func(p *Document) { p.Mounts[0].Path = "/etc" }, "mount 0"},
		"mount empty":         {func(p *Document) { p.Mounts[0].Path = "" }, "mount 0"},
		"mount root relative": {func(p *Document) { p.Mounts[0].Root = "var" }, "mount 0"},
		"mount of all":        {func(p *Document) { p.Mounts[0].Root = "/" }, "mount 0"},
		"fixed relative":      {func(p *Document) { p.Mounts[2].Path = "etc/x" }, "mount 2"},
		"given, read-only":    {func(p *Document) { p.Mounts[1].Given = true }, "mount 1"},
		"given and private":   {func(p *Document) { p.Mounts[0].Given, p.Mounts[0].Private = true, true }, "mount 0"},
		"fixed root":          {func(p *Document) { p.Mounts[2].Path = "/" }, "mount 2"},
		"pid file is root":    {func(p *Document) { p.PIDFiles[0].Path = "." }, "file"},
		"pid file up":         {func(p *Document) { p.PIDFiles[0].Path = "../pid" }, "file"},
		"pid file no root":    {func(p *Document) { p.PIDFiles[0].Root = "" }, "file"},
		"pid file too long":   {func(p *Document) { p.PIDFiles[0].Path = strings.Repeat("a", 4096) }, "file"},
		"socket absolute":     {func(p *Document) { p.Socket.Path = "/run/x" }, "file"},
		"many mounts":         {func(p *Document) { p.Mounts = make([]Mount, 65) }, "65 mounts"},
		"many pid files":      {func(p *Document) { p.PIDFiles = make([]File, 17) }, "17 pid files"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := full()
			test.change(p)
			if _, err := p.Encode(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

// TestDocumentTakesAsMuchAsPolicy shows that a plan may have as many mounts and
// pid files as the policy accepts.
func TestDocumentTakesAsMuchAsPolicy(t *testing.T) {
	t.Parallel()
	p := full()
	p.Mounts, p.PIDFiles = slices.Repeat(p.Mounts[:1], 64), slices.Repeat(p.PIDFiles, 16)
	if err := p.Validate(); err != nil {
		t.Error(err)
	}
}

func TestDocumentPathsOfPins(t *testing.T) {
	t.Parallel()
	got := []string{Pins(testID), NetworkNamespacePath(testID), MountPath(testID, 12)}
	want := []string{
		"/run/sidecar/launch/" + testID,
		"/run/sidecar/launch/" + testID + "/netns",
		"/run/sidecar/launch/" + testID + "/mounts/12",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestHardeningDocumentLinks(t *testing.T) {
	t.Parallel()
	linked := func(l *Links) *Document {
		d := full()
		d.Links = l
		return d
	}
	for _, good := range []*Links{nil, {Action: LinksCheck}, {Action: LinksWarn}, {Action: LinksRefuse}} {
		if err := linked(good).Validate(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
	for _, bad := range []string{"", "Refuse", "refuse ", strings.Repeat("x", 1000)} {
		if err := linked(&Links{Action: bad}).Validate(); err == nil || len(err.Error()) > 150 {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
}

// FuzzDocument: sidecar-launch reads the document as root.
func FuzzDocument(f *testing.F) {
	variables, err := full().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(strings.TrimPrefix(variables[0], "SIDECAR_CONTEXT="), strings.TrimPrefix(variables[1], "SIDECAR_PLAN="))
	f.Add(`{"networkNamespace":"../x"}`, `{"id":"a.b.0123456789ab","pidNamespace":"host","mounts":[{"path":"/a/../b"}]}`)
	f.Fuzz(func(t *testing.T, context, plan string) {
		d, err := Decode([]string{"SIDECAR_CONTEXT=" + context, "SIDECAR_PLAN=" + plan})
		if err != nil {
			return
		}
		for i, m := range d.Mounts {
			if strings.Contains("/"+m.String()+"/", "/../") {
				t.Errorf("mount %q leads up", m)
			}
			d.Outermost(i)
		}
		if strings.ContainsAny(d.ID, "/\x00 ") || strings.ContainsAny(d.NetworkNamespace(), "/\x00 ") {
			t.Errorf("id %q, namespace %q", d.ID, d.NetworkNamespace())
		}
		d.Payload()
		if _, err := d.Fields(); err != nil {
			t.Errorf("it has no fields: %v", err)
		}
		var tooLong *TooLongError
		if _, err := d.Encode(); err != nil && !errors.As(err, &tooLong) {
			t.Errorf("what was decoded cannot be encoded: %v", err)
		}
	})
}
