package clienttest_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/client/clienttest"
	"tripleo.io/sidecar/interfaces"
)

func TestScriptIsRead(t *testing.T) {
	t.Parallel()
	got, err := clienttest.ParseScript(`# stop
> {"method": "a.b.Stop",
   "more": true}
< {"continues": true}
< {}

> {"method": "a.b.Other"}
< hang up
`)
	if err != nil {
		t.Fatal(err)
	}
	want := clienttest.Script{
		{Request: map[string]any{"method": "a.b.Stop", "more": true}, Replies: []string{`{"continues": true}`, `{}`}},
		{Request: map[string]any{"method": "a.b.Other"}, HangUp: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestScriptThatIsWrongIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"< {}", "> {", "> {}\n< {", "? {}"} {
		if _, err := clienttest.ParseScript(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func TestServerTellsCallsOutsideItsScript(t *testing.T) {
	t.Parallel()
	script, err := clienttest.ParseScript(`> {"method": "a.b.NeverAsked"}`)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "s")
	server, err := clienttest.Listen(path, script)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.List(t.Context(), interfaces.ListParameters{}); err == nil {
		t.Error("a call outside the script was answered")
	}
	err = server.Close()
	for _, want := range []string{"not in the script", "io.tripleo.Sidecar.List", "never came", "NeverAsked"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("verdict %v does not say %q", err, want)
		}
	}
}
