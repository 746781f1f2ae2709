package main

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"tripleo.io/sidecar/service/launch"
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

func encode(t *testing.T, p launch.Plan) string {
	t.Helper()
	text, err := launch.Encode(p)
	if err != nil {
		t.Fatal(err)
	}
	return text
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
	plan := encode(t, launch.Plan{
		ID: id, PIDNamespace: launch.Private,
		Mounts:   []launch.Mount{{Root: state, Path: "."}},
		PIDFiles: []launch.File{{Root: state, Path: "pid"}},
	})
	environment := []string{"PATH=/bin", "NOTIFY_SOCKET=/x", "SIDECAR_CONTEXT={}", "SIDECAR=kept"}
	script := `env; echo "0: $0 1: $1 2: $2"; ulimit -n; test -d ` + launch.MountPath(id, 0) + ` && echo pinned; test -e ` + state + `/pid || echo removed; grep -aq "a b" /proc/$PPID/cmdline || echo hidden; exit 7`
	out, errs, status := program(t, environment, "exec", plan, "--", "/bin/sh", "-c", script, "name", "", "a b$X")
	if status != 7 || out+errs != "" {
		t.Errorf("status %d, output %q %q", status, out, errs)
	}
	out = <-journal
	for _, want := range []string{"NOTIFY_SOCKET=" + launch.Directory(id) + "/notify\n", "SIDECAR=kept\n", "hidden\n", "0: name 1:  2: a b$X\n", "pinned\n", "removed\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %q", want, out)
		}
	}
	if strings.Contains(out, "SIDECAR_") {
		t.Errorf("the service's own variables are passed on: %q", out)
	}
	for range 2 {
		if out, errs, status := program(t, nil, "clean", plan, "--", "/bin/true"); out+errs != "" || status != 0 {
			t.Errorf("clean: status %d, %q %q", status, out, errs)
		}
	}
	if entries, err := os.ReadDir(launch.Base); err != nil || len(entries) != 0 {
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
	plan := encode(t, launch.Plan{ID: id, PIDNamespace: launch.Private, Mounts: []launch.Mount{{Root: t.TempDir(), Path: "."}}})
	if _, errs, status := program(t, nil, "exec", plan, "--", "/bin/sh", "-c", "test -d "+launch.MountPath(id, 0)+" && kill -KILL $PPID"); status != -1 {
		t.Fatalf("exec: status %d, %q, want that it was killed", status, errs)
	}
	script := "test -e " + launch.Directory(id) + " && echo pinned; echo broken; exit 1"
	_, errs, status := program(t, nil, "clean", plan, "--", "/bin/sh", "-c", script)
	if status != exitFailure || !strings.Contains(errs, "broken") || strings.Contains(errs, "pinned") {
		t.Errorf("clean: status %d, %q", status, errs)
	}
}

func TestLaunchFailsWithOneLineAndItsOwnStatus(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	privateRun(t)
	plan := encode(t, launch.Plan{ID: id, PIDNamespace: launch.Private})
	missing := encode(t, launch.Plan{ID: id, PIDNamespace: launch.Private, Mounts: []launch.Mount{{Root: t.TempDir(), Path: "dhcp/7"}}})
	tests := map[string]struct {
		args []string
		want string
	}{
		"nothing":            {nil, "usage: "},
		"no plan":            {[]string{"exec"}, "usage: "},
		"bad plan":           {[]string{"exec", "{}", "--", "/bin/true"}, "plan: id"},
		"no program":         {[]string{"exec", plan, "--"}, "wrong command"},
		"no separator":       {[]string{"exec", plan, "/bin/true", "x"}, "wrong command"},
		"other command":      {[]string{"run", plan}, "wrong command"},
		"too many arguments": {[]string{"clean", plan, "x"}, "wrong command"},
		"relative program":   {[]string{"exec", plan, "--", "true"}, "absolute path"},
		"missing program":    {[]string{"exec", plan, "--", "/nonexistent"}, "/nonexistent: no such file"},
		"missing directory":  {[]string{"exec", missing, "--", "/bin/true"}, "/dhcp/7: does not exist"},
		"nothing started":    {[]string{"exec", plan, "--", "/bin/true"}, "without having started anything"},
	}
	for name, test := range tests {
		out, errs, status := program(t, nil, test.args...)
		if status != exitFailure || out != "" || !strings.HasPrefix(errs, "sidecar-launch: ") || !strings.Contains(errs, test.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: status %d, stdout %q, stderr %q, want a line with %q", name, status, out, errs, test.want)
		}
		if entries, err := os.ReadDir(launch.Base); err == nil && len(entries) != 0 {
			t.Errorf("%s: left over: %v", name, entries)
		}
	}
}
