package testhost

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestScopeArguments(t *testing.T) {
	t.Parallel()
	argv := scopeArgs("s.scope", Command{
		Args: []string{"prog", "", "--flag=a b"}, Env: []string{"A=1"}, Dir: "/srv",
	})
	line := strings.Join(argv, "|")
	for _, want := range []string{"|--scope|", "|--unit=s.scope|", "|--chdir=/srv|", "|HOME=/root|"} {
		if !strings.Contains(line, want) {
			t.Errorf("no %s in %s", want, line)
		}
	}
	want := []string{"A=1", "prog", "", "--flag=a b"}
	if diff := cmp.Diff(want, argv[len(argv)-4:]); diff != "" {
		t.Errorf("end of the command line (-want +got):\n%s", diff)
	}
}

func TestExitCodeOfCommands(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		script string
		want   int
	}{
		"success": {"exit 0", 0}, "failure": {"exit 7", 7}, "signal": {"kill -9 $$", 137},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command("sh", "-c", test.script)
			err := cmd.Run()
			if code, err := exitCode(cmd.ProcessState, err); code != test.want || err != nil {
				t.Errorf("exit code %d, error %v; want %d", code, err, test.want)
			}
		})
	}
	failure := errors.New("cannot start")
	if _, err := exitCode(nil, failure); !errors.Is(err, failure) {
		t.Errorf("error %v, want %v", err, failure)
	}
}
