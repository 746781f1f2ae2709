package policy

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"tripleo.io/sidecar/interfaces"
)

// FuzzPolicyLoad checks that no document makes the loader panic, and that each
// problem names its file and a line.
func FuzzPolicyLoad(f *testing.F) {
	for _, name := range []string{"dnsmasq", "haproxy", "keepalived", "radvd", "conntrackd"} {
		document, err := os.ReadFile("profiles.d/" + name + suffix)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(document)
	}
	f.Add([]byte("profiles = ['x']\nnetwork-namespaces = ['*']\nstate-directories = ['/tmp']\n"))
	f.Add([]byte("[ready]\npid-file = [['x']]\n"))
	place := regexp.MustCompile(`^x\.toml:[1-9][0-9]*: `)
	f.Fuzz(func(t *testing.T, document []byte) {
		profile, agent := &report{file: "x.toml"}, &report{file: "x.toml"}
		p, a := parseProfile(profile, "x", document), parseAgent(agent, "x", document)
		for _, err := range append(profile.problems, agent.problems...) {
			if !place.MatchString(err.Error()) {
				t.Errorf("no place in %q", err)
			}
		}
		if p == nil && len(profile.problems) == 0 || a == nil && len(agent.problems) == 0 {
			t.Error("nothing was loaded, and no problem reported")
		}
		if len(profile.problems) == 0 {
			agent := &Agent{StateDirectories: []string{"/srv/x"}}
			for _, argument := range p.Describe().Arguments {
				_, _ = decide(agent, p, []string{argument, "/srv/x/a/b.c"})
			}
		}
	})
}

// FuzzPolicyNamespaceName checks names and patterns against regular expressions.
func FuzzPolicyNamespaceName(f *testing.F) {
	f.Add("qdhcp-*", "qdhcp-9d2c")
	f.Add("a*b*c", "aXbXbc")
	f.Add("*", "..")
	f.Add("**a", "../a")
	valid := regexp.MustCompile(`\A[A-Za-z0-9._@:+,=%~#-]{1,255}\z`)
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if checkPattern(pattern) != "" {
			return
		}
		agent := &Agent{NetworkNamespaces: []string{pattern}}
		expression := strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `.*`)
		fits, err := regexp.MatchString(`\A(?:`+expression+`)\z`, name)
		if err != nil {
			t.Fatalf("pattern %q was accepted: %v", pattern, err)
		}
		want := fits && valid.MatchString(name) && name != "." && name != ".."
		set := &Set{agents: map[string]*Agent{"a": agent}, profiles: map[string]*Profile{"x": {}}}
		agent.Profiles = []string{"x"}
		_, decided := set.Decide(Request{Agent: "a", Profile: "x", NetworkNamespace: &name, Arguments: []string{"--"}})
		if got := errors.Is(decided, interfaces.ErrArgumentNotAllowed); got != want { // the next check
			t.Errorf("pattern %q, name %q: got %t, want %t", pattern, name, got, want)
		}
	})
}
