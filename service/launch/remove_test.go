package launch

import (
	"os"
	"strings"
	"testing"
)

func TestRemoveIsTriedTwiceAndNoMore(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		script string
		runs   int
		want   string // in the error; "": none
	}{
		"first time":  {"exit 0", 1, ""},
		"second time": {`[ $(wc -l <"$0") = 2 ]`, 2, ""},
		"never":       {"echo why; exit 3", 2, "exit status 3: why"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := t.TempDir() + "/log"
			err := Remove([]string{"/bin/sh", "-c", `echo run >>"$0"; ` + test.script, log})
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			text, _ := os.ReadFile(log)
			if got := strings.Count(string(text), "run\n"); got != test.runs {
				t.Errorf("run %d times, want %d", got, test.runs)
			}
		})
	}
}

func TestRemoveOfAProgramThatIsNotThere(t *testing.T) {
	t.Parallel()
	if err := Remove([]string{"/nonexistent"}); err == nil {
		t.Error("no error")
	}
}
