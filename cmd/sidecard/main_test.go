package main

import (
	"errors"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tripleo.io/sidecar/internal/mantest"
)

func TestPolicyDaemonOptions(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		args []string
		want string // part of the error
	}{
		"none":        {nil, ""},
		"starts":      {[]string{"-starts", "8"}, ""},
		"no starts":   {[]string{"-starts", "0"}, "0 is not from 1 to 64"},
		"many starts": {[]string{"-starts", "65"}, "65 is not from 1 to 64"},
		"keep":        {[]string{"-keep-failed", "90s"}, ""},
		"keep none":   {[]string{"-keep-failed", "0s"}, "0s is less than a minute"},
		"reload":      {[]string{"-reload", "-1"}, "-1 is not a process ID"},
		"reload too":  {[]string{"-reload", "1", "-runtime-directory", "/run/x", "-metrics-socket", "/run/x/s", "-starts", "8"}, ""},
		"an argument": {[]string{"now"}, `unexpected argument "now"`},
		"unknown":     {[]string{"-nonsense"}, "nonsense"},
	}
	for name, c := range cases {
		_, err := parseOptions(c.args)
		if (err == nil) != (c.want == "") || (err != nil && !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
	if _, err := parseOptions([]string{"-version"}); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("-version: %v, want to end there", err)
	}
}

func TestPolicyDaemonManual(t *testing.T) {
	t.Parallel()
	mantest.Options(t, "sidecard.8", new(options).flagSet())
}

// TestHardeningSeccompFileIsLookedFor: a filter that is missing is told at the start,
// not only by the first launch.
func TestHardeningSeccompFileIsLookedFor(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "seccomp.json")
	var log strings.Builder
	logger := slog.New(slog.NewTextHandler(&log, nil))
	checkSeccomp(path, logger)
	if text := log.String(); !strings.Contains(text, "level=WARN") || !strings.Contains(text, path) {
		t.Errorf("without the file it says %q", text)
	}
	log.Reset()
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	checkSeccomp(path, logger)
	if log.Len() > 0 {
		t.Errorf("with the file it says %q", log.String())
	}
}

func TestRestartSecondDaemonRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	unlock, err := singleInstance(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := singleInstance(dir); err == nil || !strings.Contains(err.Error(), "another sidecard runs") {
		t.Errorf("second daemon: %v, want to be refused", err)
	}
	unlock()
	again, err := singleInstance(dir)
	if err != nil {
		t.Errorf("after the first has ended: %v", err)
		return
	}
	again()
}
