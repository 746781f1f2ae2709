//go:build testhost

package test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/spool"
)

// spooled is the agent of the tests that has a spool. Its requests are another
// user's than root's.
const (
	spooled     = "spooled"
	spoolUser   = 4242
	spoolOnHost = "/var/lib/sidecar/spool/" + spooled
	serverUnit  = "sidecar-spool@" + spooled + ".service"
	watchUnit   = "sidecar-spool@" + spooled + ".path"
)

const spooledAgent = `profiles = ["dnsmasq", "probe"]
network-namespaces = ["qdhcp-*", "t-*"]
state-directories = ["/var/lib/neutron", "/var/lib/tester"]
max-sidecars = 4000
spool-user = 4242
`

// withSpool gives the agent its spool for the time of a test.
func withSpool(t testing.TB) *spool.Client {
	t.Helper()
	return withSpoolAs(t, spooledAgent)
}

// withSpoolAs is withSpool for an agent whose file says something else.
func withSpoolAs(t testing.TB, agentFile string) *spool.Client {
	t.Helper()
	withPolicy(t, "agents.d", spooled, agentFile)
	run(t, "systemctl", "start", watchUnit)
	t.Cleanup(func() {
		run(t, "systemctl", "stop", watchUnit, serverUnit, "sidecar-spool-directory@"+spooled+".service")
		run(t, "rm", "-rf", spoolOnHost)
	})
	return &spool.Client{Directory: spoolOnHost}
}

// hand writes a file into the spool's new directory as its agent would, or as
// somebody else.
func hand(t testing.TB, name, text string, user int) {
	t.Helper()
	temporary := filepath.Join(spoolOnHost, spool.Temporary, "written")
	if err := os.WriteFile(temporary, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(temporary, user, user); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temporary, filepath.Join(spoolOnHost, spool.New, name)); err != nil {
		t.Fatal(err)
	}
}

func TestSpoolLaunchIsReady(t *testing.T) {
	begin(t)
	namespace(t, "t-spool")
	c := withSpool(t)
	stopAllAtEnd(t, spooled)
	p := probe(t, "t-spool")
	s, err := c.Launch(minute(t), p)
	if err != nil {
		t.Fatal(err)
	}
	checkRunning(t, s, p)
	all, err := c.List(minute(t), interfaces.ListParameters{})
	if err != nil || len(all) != 1 || *all[0].Runtime.ProcessID != *s.Runtime.ProcessID {
		t.Errorf("list %+v, %v", all, err)
	}
	if err := c.Signal(minute(t), interfaces.SignalParameters{ID: s.ID, Signal: "SIGTERM"}); err != nil {
		t.Errorf("signal: %v", err)
	}
	gone(t, spooled, s.ID)
	if _, err := c.Stop(minute(t), interfaces.StopParameters{ID: s.ID}); !errors.Is(err, interfaces.ErrNoSuchSidecar) {
		t.Errorf("stop of what is gone: %v", err)
	}
}

func TestSpoolTellsWhyNot(t *testing.T) {
	begin(t)
	namespace(t, "t-spool")
	c := withSpool(t)
	stopAllAtEnd(t, spooled)
	for what, change := range map[string]struct {
		to   func(p *interfaces.LaunchParameters)
		want error
	}{
		"argument":             {func(p *interfaces.LaunchParameters) { p.Arguments = append(p.Arguments, "--evil") }, interfaces.ErrArgumentNotAllowed},
		"profile":              {func(p *interfaces.LaunchParameters) { p.Profile = "haproxy" }, interfaces.ErrNoSuchProfile},
		"namespace":            {func(p *interfaces.LaunchParameters) { p.NetworkNamespace = new("other") }, interfaces.ErrNamespaceNotAllowed},
		"the host's namespace": {func(p *interfaces.LaunchParameters) { p.NetworkNamespace = nil }, interfaces.ErrNamespaceNotAllowed},
		"exit code":            {func(p *interfaces.LaunchParameters) { p.Arguments = append(p.Arguments, "--exit=7") }, interfaces.ErrLaunchFailed},
	} {
		p := probe(t, "t-spool")
		change.to(&p)
		_, err := c.Launch(minute(t), p)
		if !errors.Is(err, change.want) {
			t.Errorf("%s: %v, want %v", what, err, change.want)
		}
		var failed *interfaces.LaunchFailedError
		if errors.As(err, &failed) && (failed.ExitCode == nil || *failed.ExitCode != 7 || !strings.Contains(strings.Join(failed.Output, "\n"), "told to exit")) {
			t.Errorf("%s: %+v", what, failed)
		}
	}
}

// TestSpoolWhileTheDaemonIsDown shows that a request waits for the service.
func TestSpoolWhileTheDaemonIsDown(t *testing.T) {
	begin(t)
	namespace(t, "t-spool")
	c := withSpool(t)
	stopAllAtEnd(t, spooled)
	run(t, "systemctl", "mask", "--runtime", "sidecard") // or the server starts it
	t.Cleanup(func() { run(t, "systemctl", "unmask", "--runtime", "sidecard") })
	run(t, "systemctl", "stop", "sidecard")
	done := make(chan error, 1)
	p := probe(t, "t-spool")
	go func() {
		_, err := c.Launch(minute(t), p)
		done <- err
	}()
	select {
	case err := <-done:
		t.Errorf("answered without the service: %v", err)
	case <-time.After(time.Second):
	}
	run(t, "systemctl", "unmask", "--runtime", "sidecard")
	run(t, "systemctl", "start", "sidecard")
	awaitDaemon(t)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestSpoolStartsTheDaemon(t *testing.T) {
	begin(t)
	c := withSpool(t)
	run(t, "systemctl", "stop", "sidecard")
	if _, err := c.List(minute(t), interfaces.ListParameters{}); err != nil {
		t.Error(err)
	}
	awaitDaemon(t)
}

// TestSpoolTakenAwayAndGivenBack shows that the directory is made whenever it is to
// be watched, for the user that the agent's file names then.
func TestSpoolTakenAwayAndGivenBack(t *testing.T) {
	begin(t)
	withSpool(t)
	owner := func() string { return run(t, "stat", "-c", "%u", filepath.Join(spoolOnHost, spool.New)) }
	run(t, "systemctl", "stop", watchUnit)
	eventually(t, 5*time.Second, "the directory's unit has ended", func() bool {
		return show(t, "sidecar-spool-directory@"+spooled+".service", "ActiveState") == "inactive"
	})
	run(t, "rm", "-r", spoolOnHost)
	run(t, "systemctl", "start", watchUnit)
	if got := owner(); got != strconv.Itoa(spoolUser) {
		t.Errorf("given back to user %s, want %d", got, spoolUser)
	}
	withPolicy(t, "agents.d", spooled, strings.Replace(spooledAgent, "4242", "4343", 1))
	run(t, "systemctl", "restart", watchUnit)
	if got := owner(); got != "4343" {
		t.Errorf("after a change it is user %s's, want 4343", got)
	}
}
