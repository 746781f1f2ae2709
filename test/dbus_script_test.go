//go:build testhost

package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// script is the example that uses busctl and jq only.
const script = "/usr/share/doc/sidecar/examples/busctl.sh"

// TestDBusScript has the example launch, list, wait for states, and stop: as root, and
// as somebody whom polkit lets. It waits by signal, but for one who is not root and
// has a busctl before 257: that asks every second.
func TestDBusScript(t *testing.T) {
	begin(t)
	t.Run("root", func(t *testing.T) { runScript(t, script) })
	t.Run("operator", func(t *testing.T) {
		addUsers(t)
		rules(t, map[string]string{"10-test.rules": byName})
		id := fmt.Sprint(allowed)
		runScript(t, "setpriv", "--reuid="+id, "--regid="+id, "--init-groups", script)
	})
}

func runScript(t *testing.T, argv ...string) {
	t.Helper()
	namespace(t, "t-script")
	sh := func(arguments ...string) string {
		t.Helper()
		return run(t, append(argv, arguments...)...)
	}
	p := shaped(t, "gated", "t-script", "--text=$HOME 'quoted'")
	id := interfaces.NewID(tester, "gated", pidFileOf(p.Arguments))
	stopAtEnd(t, tester, id.String())
	launched := make(chan string, 1)
	go func() {
		out, err := output(append(append(argv, "launch", tester, "gated", "t-script"), p.Arguments...)...)
		launched <- fmt.Sprint(out, err)
	}()
	sh("wait", id.String(), "starting")
	waited := make(chan error, 1)
	go func() {
		_, err := output(append(argv, "wait", id.String(), "ready")...)
		waited <- err
	}()
	time.Sleep(time.Second) // it has begun to listen
	opened := time.Now()
	openGate(t, p)
	if err := <-waited; err != nil {
		t.Error(err)
	}
	t.Logf("ready was noticed after %v", time.Since(opened).Round(time.Millisecond))
	if got := <-launched; got != id.String()+"<nil>" {
		t.Fatalf("launched %s", got)
	}
	s := get(t, tester, id.String())
	want := fmt.Sprintf("%s\tready\t%d", id, *s.Runtime.ProcessID)
	for _, arguments := range [][]string{{"list"}, {"list", tester}} {
		if got := sh(arguments...); got != want {
			t.Errorf("%v: %q, want %q", arguments, got, want)
		}
	}
	if got := sh("list", neutron); got != "" {
		t.Errorf("of another agent: %q", got)
	}
	if _, err := output(append(argv, "wait", id.String(), "failed", "0")...); err == nil || !strings.Contains(err.Error(), "is ready, not failed") {
		t.Errorf("waited for what does not happen: %v", err)
	}
	killMain(t, id.Unit())
	sh("wait", id.String(), "failed")
	sh("stop", id.String())
	sh("wait", id.String(), "gone", "10")
	if _, err := output(append(argv, "stop", id.String())...); err == nil || !strings.Contains(err.Error(), "no such sidecar") {
		t.Errorf("stopped twice: %v", err)
	}
}
