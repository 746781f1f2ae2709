//go:build testhost

package systemd

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// systemd writes a transient unit into a file and reads it again on a reload.
// Arguments and environment have to come through that, and commands have to be
// there at all.
func TestSystemdKeepsArgumentsOverReload(t *testing.T) {
	c := dialHost(t)
	const name = "sdt-arguments.service"
	t.Cleanup(func() { sweep(t, c, name) })
	program, out := printer(t)
	argv := []string{program, "", "é", "\u2028"}
	mangled := []string{"$", "$HOME", "${HOME}", "a;b", ";"}
	for char := byte(1); char < 128; char++ {
		if char != '$' && char != ';' {
			argv = append(argv, string(char), "a"+string(char)+"b", "%"+string(char))
		}
	}
	check := func(when string, argv []string) {
		t.Helper()
		want := append(slices.Clone(argv[1:]), strings.TrimPrefix(environment, "RECORD="))
		if d := cmp.Diff(want, printed(t, out)); d != "" {
			t.Errorf("%s the arguments differ (-want +got):\n%s", when, d)
		}
		u, err := c.Get(testContext(t), name)
		if d := cmp.Diff(any([]string{environment}), u.Digest); d != "" || err != nil || u.LoadState != "loaded" {
			t.Errorf("%s: %s, %v, environment (-want +got):\n%s", when, u.LoadState, err, d)
		}
	}
	properties := withoutCommand(script(kindReady))
	if _, err := c.Start(testContext(t), name, append(properties, ExecStart(append(argv, mangled...)...))); err != nil {
		t.Fatal(err)
	}
	check("after the start", append(argv, mangled...))
	if _, err := c.Stop(testContext(t), name, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Start(testContext(t), name, append(properties, ExecStart(argv...))); err != nil {
		t.Fatal(err)
	}
	check("after the second start", argv)
	run(t, "systemctl", "daemon-reload")
	run(t, "systemctl", "restart", name)
	check("after a reload", argv)
	run(t, "systemctl", "daemon-reexec")
	run(t, "systemctl", "restart", name)
	check("after a re-execution", argv)
}

// printer is a program that writes its arguments and $RECORD to a file.
func printer(t *testing.T) (program, out string) {
	t.Helper()
	out = filepath.Join(t.TempDir(), "out")
	return executable(t, fmt.Sprintf("printf '%%s\\0' \"$@\" \"$RECORD\" > %[1]s.new; mv %[1]s.new %[1]s\n"+
		"systemd-notify --ready; exec sleep 600\n", out)), out
}

// executable makes a program of a shell script, so that the unit needs no
// characters that systemd 252 loses.
func executable(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// printed takes what the printer wrote.
func printed(t *testing.T, out string) []string {
	t.Helper()
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(out); err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00")
}

func withoutCommand(properties []Property) []Property {
	return slices.DeleteFunc(properties, func(p Property) bool { return p.Name == "ExecStart" })
}
