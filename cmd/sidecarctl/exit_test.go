package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"tripleo.io/sidecar/interfaces"
)

// TestErrorsAllHaveAHint shows that no error of the interface was forgotten.
func TestErrorsAllHaveAHint(t *testing.T) {
	t.Parallel()
	for _, row := range interfaces.Errors {
		if errors.Is(row.Err, interfaces.ErrExpectedMore) {
			continue // the client never leaves the flag out where it is needed
		}
		if o := find(fmt.Errorf("wrapped: %w", row.Err)); o.hint == "" || o.code == exitOK {
			t.Errorf("%v: code %d, hint %q", row.Err, o.code, o.hint)
		}
	}
}

func TestErrorsThatAreJoinedAreShownOneByOne(t *testing.T) {
	t.Parallel()
	err := errors.Join(interfaces.ErrNoSuchSidecar, interfaces.ErrHostFailure)
	var b bytes.Buffer
	printFailure(&b, err)
	if got := strings.Count(b.String(), "error: "); got != 2 || exitCode(err) != exitNoSuchSidecar {
		t.Errorf("%d errors, exit code %d:\n%s", got, exitCode(err), b.String())
	}
}

func TestExitCodesAreInTheHelp(t *testing.T) {
	t.Parallel()
	for code := exitOK; code <= exitErrors; code++ {
		if line := fmt.Sprintf("\n    %d  ", code); !strings.Contains(longHelp, line) {
			t.Errorf("code %d is not in the help", code)
		}
	}
}

func TestResultThatCannotBeWrittenIsAFailure(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	var stderr bytes.Buffer
	code := run(t.Context(), []string{"check", t.TempDir()}, full, &stderr)
	if code != exitFailure || !strings.Contains(stderr.String(), "no space left") {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
}

func TestVersionIsTheStampedOne(t *testing.T) {
	t.Parallel()
	if got := ownVersion("1.2.3"); got != "1.2.3" {
		t.Errorf("got %q", got)
	}
	if got := ownVersion(""); got == "" {
		t.Error("no version without a stamp")
	}
}
