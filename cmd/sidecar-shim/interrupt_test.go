package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// interrupt runs a launch, sends it the signal when the service has been asked, and
// returns what it printed and its exit code.
func interrupt(t *testing.T, f *fakeService, signal syscall.Signal, again bool) (string, int) {
	t.Helper()
	cmd := f.command(t, "dnsmasq", "--no-hosts", "")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the service is asked", func() bool { return f.asked("Launch") == 1 })
	began := time.Now()
	_ = cmd.Process.Signal(signal)
	if again {
		eventually(t, "it looks what became of it", func() bool { return f.asked("List") == 1 })
		_ = cmd.Process.Signal(signal)
	}
	_ = cmd.Wait()
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it ended after %v", took)
	}
	return out.String(), exitStatus(cmd)
}

// exitStatus is the exit code as a shell shows it.
func exitStatus(cmd *exec.Cmd) int {
	status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Exited() {
		return status.ExitStatus()
	}
	return exitSignal + int(status.Signal())
}

func mute(string) string { select {} }

func TestShimInterruptedShimSaysWhatBecame(t *testing.T) {
	t.Parallel()
	entry := func(arguments string, started int64) string {
		return fmt.Sprintf(`{"parameters": {"sidecar": {"id": %q, "context": {"profile": "dnsmasq", "agent": "a", "arguments": %s}, "runtime": {"state": "starting", "startedUSec": %d}}}}`, testID, arguments, started)
	}
	later := time.Now().Add(time.Hour).UnixMicro()
	for name, test := range map[string]struct {
		list   string
		signal syscall.Signal
		want   string
	}{
		"not begun":     {gone, syscall.SIGINT, "the launch was given up, nothing was started"},
		"begun":         {entry(`["--no-hosts", ""]`, later), syscall.SIGTERM, "the start of sidecar " + testID + " had begun and is carried through; "},
		"from before":   {entry(`["--no-hosts", ""]`, 1), syscall.SIGTERM, "the launch was given up, nothing was started"},
		"another one":   {entry(`["--no-hosts", "x"]`, later), syscall.SIGINT, "the launch was given up, nothing was started"},
		"nobody knows":  {"", syscall.SIGINT, "the launch was given up; if its start had begun, "},
		"service fails": {`{"error": "io.tripleo.Sidecar.HostFailure", "parameters": {"reason": "r"}}`, syscall.SIGINT, "the launch was given up; if its start had begun, "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := serveFake(t, nil)
			f.set(func(call string) string {
				if strings.HasPrefix(call, "List") {
					return test.list
				}
				return mute(call)
			})
			out, code := interrupt(t, f, test.signal, false)
			if !strings.HasPrefix(out, "dnsmasq: sidecar: interrupted: "+test.want) || strings.Count(out, "\n") != 1 {
				t.Errorf("it says %q", out)
			}
			if code != 128+int(test.signal) {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

func TestShimInterruptedTwiceEndsAtOnce(t *testing.T) {
	t.Parallel()
	if out, code := interrupt(t, serveFake(t, mute), syscall.SIGINT, true); out != "" || code != 130 {
		t.Errorf("exit code %d, %q", code, out)
	}
}
