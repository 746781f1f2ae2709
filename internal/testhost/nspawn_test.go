package testhost

import (
	"os/exec"
	"slices"
	"testing"
	"time"
)

func TestNspawnArgumentsFollowTheMachine(t *testing.T) {
	t.Parallel()
	run := runDir{path: "/cache/run/host-1"}
	workarounds := []string{"--register=no", "--keep-unit"}
	for _, systemd := range []bool{true, false} {
		argv := nspawnArgs(run, systemd)
		for _, want := range []string{
			"--boot", "--directory=/cache/run/host-1/root", "--machine=host-1",
			"--private-network", "--bind=/cache/run/host-1/containers:/var/lib/containers",
		} {
			if !slices.Contains(argv, want) {
				t.Errorf("systemd %t: no %s in %q", systemd, want, argv)
			}
		}
		for _, flag := range workarounds {
			if slices.Contains(argv, flag) == systemd {
				t.Errorf("systemd %t: %s is wrong in %q", systemd, flag, argv)
			}
		}
	}
}

func TestNspawnEnvironmentNamesTheSocket(t *testing.T) {
	t.Parallel()
	env := nspawnEnv(runDir{path: "/r"})
	if !slices.Contains(env, "NOTIFY_SOCKET=/r/notify") {
		t.Errorf("no socket in %q", env)
	}
}

func TestNspawnStopEndsAProcess(t *testing.T) {
	t.Parallel()
	spawned, err := startLocked(exec.Command("sleep", "60"))
	if err != nil {
		t.Fatal(err)
	}
	if err := spawned.stop(t.Context(), 0); err != nil {
		t.Error(err)
	}
	select {
	case <-spawned.done:
	case <-time.After(time.Minute):
		t.Error("stop returned and the process still runs")
	}
}

func TestNspawnStopKillsWhatIgnoresIt(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("sh", "-c", "trap '' TERM; echo ready; read never")
	stdin, err := cmd.StdinPipe() // keeps read waiting
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	spawned, err := startLocked(cmd)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stdout.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := contextWithTimeout(t, 100*time.Millisecond)
	defer cancel()
	if err := spawned.stop(ctx, 0); err == nil {
		t.Error("stop does not say that it had to kill")
	}
}
