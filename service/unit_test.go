package service

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"tripleo.io/sidecar/interfaces"
)

var update = flag.Bool("update", false, "write what the tests got into the golden files")

// TestLaunchUnit compares requests with the units that they become. A file is one
// case: the caller's agent, its request, and the unit or the error.
func TestLaunchUnit(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/unit/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			request, want := section(t, archive, "request"), section(t, archive, "unit")
			got := explained(t, strings.TrimSpace(string(section(t, archive, "agent").Data)), request.Data)
			if *update {
				want.Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(want.Data), got); diff != "" {
				t.Errorf("unit (-want +got):\n%s", diff)
			}
		})
	}
}

func section(t *testing.T, archive *txtar.Archive, name string) *txtar.File {
	t.Helper()
	for i := range archive.Files {
		if archive.Files[i].Name == name {
			return &archive.Files[i]
		}
	}
	t.Fatalf("no section %q", name)
	return nil
}

// explained returns what Explain says of a request: one line a property, then one line for
// each word of the engine's command.
func explained(t *testing.T, agent string, request []byte) string {
	t.Helper()
	var p interfaces.LaunchParameters
	if err := json.Unmarshal(request, &p); err != nil {
		t.Fatal(err)
	}
	host := newFakeHost(t)
	reply, err := host.core.Explain(t.Context(), Caller{Agent: agent, UID: 42435, PIDFD: -1}, p)
	if err != nil {
		return fmt.Sprintf("error: %v\n", err)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "[%s]\n", reply.Unit)
	for _, property := range reply.Properties {
		fmt.Fprintf(&text, "%s=%s\n", property.Name, property.Value)
	}
	text.WriteString("[engine]\n")
	for _, word := range reply.EngineCommand {
		text.WriteString(word + "\n")
	}
	return text.String()
}
