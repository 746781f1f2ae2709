package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/netns/netnstest"
)

const asProgram = "LAUNCH_TEST_AS_PROGRAM"

// TestMain lets the test binary stand for the program.
func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// program runs sidecar-launch and returns its output and exit status.
func program(t *testing.T, environment []string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", args...)
	cmd.Env = append([]string{asProgram + "=1"}, environment...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// privateRun hides /run of the machine behind one with nothing but a journal, of which
// it returns what the next program's output is.
func privateRun(t *testing.T) <-chan string {
	t.Helper()
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("/run/systemd/journal", 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", "/run/systemd/journal/stdout")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	texts := make(chan string, 100)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			text, _ := io.ReadAll(conn) // what came before an error counts
			texts <- string(text)
		}
	}()
	return texts
}

// unit returns the environment of a unit whose engine is a shell script.
func unit(t *testing.T, script string, change func(*document.Document)) []string {
	t.Helper()
	engine := t.TempDir() + "/engine"
	if err := os.WriteFile(engine, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	d := &document.Document{Plan: document.Plan{
		ID: id, Engine: "podman", Program: engine, PIDNamespace: document.Private, Image: "image", Command: []string{"/payload"},
	}}
	d.Context.Arguments = []string{"", "a b$X"}
	if change != nil {
		change(d)
	}
	variables, err := d.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return variables
}

const id = "neutron-dhcp.dnsmasq.0123456789ab"

// TestLaunchExecRunsTheProgram shows what the program gets to see, and that it ends
// the start by ending.
func TestLaunchExecRunsTheProgram(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	journal := privateRun(t)
	state := t.TempDir()
	if err := os.WriteFile(state+"/pid", []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	const show = `env; for last; do before=$word; word=$last; done; echo "1: $1 last: $before,$word"; ulimit -n; test -d %s && echo pinned; test -e %s/pid || echo removed; exit 7`
	environment := append(unit(t, fmt.Sprintf(show, document.MountPath(id, 0), state), func(d *document.Document) {
		d.Mounts = []document.Mount{{Root: state, Path: "."}}
		d.PIDFiles = []document.File{{Root: state, Path: "pid"}}
	}), "PATH=/bin", "NOTIFY_SOCKET=/x", "SIDECAR=kept")
	out, errs, status := program(t, environment, "exec")
	if status != 7 || out != "" || errs != "sidecar-launch: notify the service manager at /x: no such file or directory\n" {
		t.Errorf("status %d, output %q %q", status, out, errs)
	}
	out = <-journal
	for _, want := range []string{"NOTIFY_SOCKET=" + document.Pins(id) + "/notify\n", "SIDECAR=kept\n", "1: --events-backend=none last: ,a b$X\n", "pinned\n", "removed\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %q", want, out)
		}
	}
	if strings.Contains(out, "SIDECAR_") {
		t.Errorf("the service's own variables are passed on: %q", out)
	}
	for range 2 {
		if out, errs, status := program(t, unit(t, "exit 0", nil), "clean"); out+errs != "" || status != 0 {
			t.Errorf("clean: status %d, %q %q", status, out, errs)
		}
	}
	if entries, err := os.ReadDir(document.PinsDirectory); err != nil || len(entries) != 0 {
		t.Errorf("left over: %v, %v", entries, err)
	}
}

// TestLaunchCleanTakesThePinsAwayFirst runs a removal that looks whether they are
// still there, and fails.
func TestLaunchCleanTakesThePinsAwayFirst(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	privateRun(t)
	mounted := func(d *document.Document) { d.Mounts = []document.Mount{{Root: t.TempDir(), Path: "."}} }
	if _, errs, status := program(t, unit(t, "test -d "+document.MountPath(id, 0)+" && kill -KILL $PPID", mounted), "exec"); status != -1 {
		t.Fatalf("exec: status %d, %q, want that it was killed", status, errs)
	}
	_, errs, status := program(t, unit(t, "test -e "+document.Pins(id)+" && echo pinned; echo broken; exit 1", mounted), "clean")
	if status != exitFailure || !strings.Contains(errs, "broken") || strings.Contains(errs, "pinned") {
		t.Errorf("clean: status %d, %q", status, errs)
	}
}

func TestLaunchFailsWithOneLineAndItsOwnStatus(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	privateRun(t)
	whole := unit(t, "exit 0", nil)
	changed := func(change func(*document.Document)) []string { return unit(t, "exit 0", change) }
	tests := map[string]struct {
		environment []string
		args        []string
		want        string
	}{
		"nothing":            {whole, nil, "usage: "},
		"other command":      {whole, []string{"run"}, "usage: "},
		"too many arguments": {whole, []string{"clean", "x"}, "usage: "},
		"no document":        {nil, []string{"exec"}, "SIDECAR_CONTEXT is not set"},
		"no plan":            {whole[:1], []string{"clean"}, "SIDECAR_PLAN is not set"},
		"bad plan":           {[]string{whole[0], "SIDECAR_PLAN={}"}, []string{"exec"}, "document: id"},
		"other engine":       {changed(func(d *document.Document) { d.Engine = "docker" }), []string{"exec"}, `engine "docker" is none of ["podman" "runtime"]`},
		"missing program":    {changed(func(d *document.Document) { d.Program = "/nonexistent" }), []string{"exec"}, "/nonexistent: no such file"},
		"missing directory": {changed(func(d *document.Document) {
			d.Mounts = []document.Mount{{Root: t.TempDir(), Path: "dhcp/7"}}
		}), []string{"exec"}, "/dhcp/7: does not exist"},
		"nothing started": {whole, []string{"exec"}, "without having started anything"},
	}
	for name, test := range tests {
		out, errs, status := program(t, test.environment, test.args...)
		if status != exitFailure || out != "" || !strings.HasPrefix(errs, "sidecar-launch: ") || !strings.Contains(errs, test.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: status %d, stdout %q, stderr %q, want a line with %q", name, status, out, errs, test.want)
		}
		if entries, err := os.ReadDir(document.PinsDirectory); err == nil && len(entries) != 0 {
			t.Errorf("%s: left over: %v", name, entries)
		}
	}
}
