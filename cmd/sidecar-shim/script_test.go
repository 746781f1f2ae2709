package main

import (
	"errors"
	"os/exec"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"tripleo.io/sidecar/client/clienttest"
)

// TestMain lets the test binary be the shim under all of its names.
func TestMain(m *testing.M) {
	commands := map[string]func(){ownName: main}
	for name := range programs {
		commands[name] = main
	}
	for name := range scripts {
		commands[name] = main
	}
	testscript.Main(m, commands)
}

// TestShimScripts runs the real program against a service that answers from a
// script. "serve FILE" starts it at $WORK/s; a call outside the script, or one
// that never comes, fails the test. "code N COMMAND…" wants that exit code.
func TestShimScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("SIDECAR_ADDRESS", "unix:"+env.WorkDir+"/s")
			env.Setenv("SIDECAR_SPOOL", env.WorkDir+"/spool")
			env.Setenv("SIDECAR_PROGRAMS", env.WorkDir+"/none:"+env.WorkDir+"/real")
			shim, err := exec.LookPath("conntrackd")
			if err != nil {
				return err
			}
			env.Setenv("SHIM", shim)
			env.Setenv("GORACE", "atexit_sleep_ms=0") // else every program lasts a second longer
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve": func(ts *testscript.TestScript, neg bool, args []string) { serve(t, ts, neg, args) },
			"code":  code,
		},
	})
}

func serve(t *testing.T, ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: serve FILE")
	}
	script, err := clienttest.ParseScript(ts.ReadFile(args[0]))
	ts.Check(err)
	server, err := clienttest.Listen(ts.MkAbs("s"), script)
	ts.Check(err)
	ts.Defer(func() {
		if err := server.Close(); err != nil {
			t.Errorf("%s: service: %v", ts.Name(), err) // Fatalf may not be used here
		}
	})
}

// code runs a command that must end with an exit code.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}
