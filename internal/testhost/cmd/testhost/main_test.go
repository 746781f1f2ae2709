package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

func TestRunPassesTheProgramsFlagsThrough(t *testing.T) {
	t.Parallel()
	var got []string
	cmd := runCommand()
	cmd.RunE = nil
	cmd.Run = func(_ *cobra.Command, args []string) { got = args }
	cmd.SetArgs([]string{"--release", "bookworm", "--", "x.test", "-test.v", "--release", "other"})
	if err := cmd.Execute(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"x.test", "-test.v", "--release", "other"}, got); diff != "" {
		t.Errorf("program and arguments (-want +got):\n%s", diff)
	}
	if release := cmd.Flag("release").Value.String(); release != "bookworm" {
		t.Errorf("release %q, want bookworm", release)
	}
}

func TestRunEnvironment(t *testing.T) {
	t.Parallel()
	outer := map[string]string{"RUN": "TestX", "SECRET": "s"}
	flags := runFlags{env: []string{"A=b=c", "RUN", "UNSET"}}
	got := flags.environment(func(key string) (string, bool) {
		value, ok := outer[key]
		return value, ok
	})
	want := []string{
		"SIDECAR_TESTHOST=1", "SIDECAR_TESTHOST_COLLECT=/srv/testhost/collect", "A=b=c", "RUN=TestX",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

func TestRunFailsWithItsOwnCode(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"run", "run --nonsense -- x", "run --release ../x -- x", "prepare --spec /no/such"} {
		if code := run(strings.Fields(line)); code != 125 {
			t.Errorf("testhost %s: exit code %d, want 125", line, code)
		}
	}
}
