package main

import (
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/mantest"
)

// TestShimManualNamesEverything shows that no name, option, signal or setting is
// missing in the manual page.
func TestShimManualNamesEverything(t *testing.T) {
	t.Parallel()
	manual := mantest.Text(t, "sidecar-shim.1")
	want := append(interfaces.Signals, settingsFile, "SIDECAR_ADDRESS", "SIDECAR_SPOOL", "SIDECAR_PROGRAMS", "PROCESS_TAG", "After 50 seconds")
	for name, p := range programs {
		want = append(want, name)
		if p.only == "" {
			want = append(want, p.real...)
		}
	}
	for name := range scripts {
		want = append(want, name)
	}
	d := defaults()
	for _, path := range append(d.Programs, d.Address, d.Spool) {
		want = append(want, `"`+path+`"`)
	}
	for _, s := range want {
		if !strings.Contains(manual, s) {
			t.Errorf("the manual does not have %q", s)
		}
	}
	if deadline.Seconds() != 50 {
		t.Error("the manual says 50 seconds")
	}
}

// TestShimManualHasTheSettings: the keys of the settings file are in the manual, and no others.
func TestShimManualHasTheSettings(t *testing.T) {
	t.Parallel()
	var explained, keys []string
	for _, m := range regexp.MustCompile(`(?m)^\.B ([a-z]+) \\fR=`).FindAllStringSubmatch(mantest.Text(t, "sidecar-shim.1"), -1) {
		explained = append(explained, m[1])
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[settings]()) {
		keys = append(keys, field.Tag.Get("toml"))
	}
	if diff := cmp.Diff(keys, explained); diff != "" {
		t.Errorf("the keys, and those in the manual: %s", diff)
	}
}

// TestShimErrorsAllHaveAdvice shows that no error of the interface was forgotten.
func TestShimErrorsAllHaveAdvice(t *testing.T) {
	t.Parallel()
	for _, row := range interfaces.Errors {
		switch row.Err {
		case interfaces.ErrLaunchFailed, interfaces.ErrNotReady: // speak for themselves
			continue
		case interfaces.ErrExpectedMore: // the client never leaves the flag out where it is needed
			continue
		case interfaces.ErrNamespaceExists, interfaces.ErrNamespaceInUse, interfaces.ErrTooManyNamespaces: // of calls that the shim never makes
			continue
		}
		if text := say(row.Err); text == row.Err.Error() {
			t.Errorf("%v: no advice", row.Err)
		}
	}
}
