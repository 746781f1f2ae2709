package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"tripleo.io/sidecar/client/clienttest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sidecarctl": main, "killedparent": killedParent})
}

// TestScripts runs the real program against a service that answers from a
// script. "serve FILE" starts it at $WORK/s; a call outside the script, or one
// that never comes, fails the test. "servebus" starts a bus with another service at
// $BUS. "code N COMMAND…" wants that exit code.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("TZ", "UTC")
			env.Setenv("GORACE", "atexit_sleep_ms=0") // else every program lasts a second longer
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond != "root" {
				return false, fmt.Errorf("unknown condition %s", cond)
			}
			return os.Geteuid() == 0, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve":    func(ts *testscript.TestScript, neg bool, args []string) { serve(t, ts, neg, args) },
			"servebus": func(ts *testscript.TestScript, _ bool, _ []string) { serveBus(t, ts) },
			"code":     code,
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
