//go:build testhost

package test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// TestRuntimeExitIsThePayloadsOwn: no number is made of a signal, and no signal of a number.
func TestRuntimeExitIsThePayloadsOwn(t *testing.T) {
	needsEngine(t, runtimeEngine)
	begin(t)
	withEngine(t, runtimeEngine)
	namespace(t, "t-exit")
	// In a pid namespace of its own, a first process is not ended by SIGSEGV.
	script := takePIDFile + untilTerm + `trap "exit 3" USR1; trap "exit 139" USR2; ` + writePID + idle
	withPolicy(t, "profiles.d", "mortal", "pid-namespace = \"host\"\n"+profile(image, script, "30s", "no"))
	withPolicy(t, "agents.d", "mortals", strings.Replace(agentFiles[tester], `["dnsmasq"`, `["mortal", "dnsmasq"`, 1))
	for name, test := range map[string]struct {
		signal syscall.Signal
		code   *int64
		ended  *string
	}{
		"exit 3":   {syscall.SIGUSR1, new(int64(3)), nil},
		"exit 139": {syscall.SIGUSR2, new(int64(139)), nil},
		"SIGSEGV":  {syscall.SIGSEGV, nil, new("SIGSEGV")},
		"SIGABRT":  {syscall.SIGABRT, nil, new("SIGABRT")},
	} {
		t.Run(name, func(t *testing.T) {
			p := shaped(t, "mortal", "t-exit")
			s := start(t, "mortals", p)
			if err := syscall.Kill(int(*s.Runtime.ProcessID), test.signal); err != nil {
				t.Fatal(err)
			}
			var r interfaces.Runtime
			eventually(t, 10*time.Second, "it has failed", func() bool {
				r = get(t, "mortals", s.ID).Runtime
				return r.State == interfaces.StateFailed
			})
			if !equal(r.ExitCode, test.code) || !equal(r.ExitSignal, test.ended) {
				t.Errorf("listed as %+v", r)
			}
			if got, want := show(t, s.Runtime.Unit, "ExecMainStatus"), wantStatus(test.code, test.signal); got != want {
				t.Errorf("systemd says %s, want %s", got, want)
			}
		})
	}
	s := start(t, "mortals", shaped(t, "mortal", "t-exit"))
	if err := syscall.Kill(int(*s.Runtime.ProcessID), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	gone(t, "mortals", s.ID) // a stop
}

func equal[T comparable](a, b *T) bool { return a == b || a != nil && b != nil && *a == *b }

// wantStatus is an exit code, or else a signal's number.
func wantStatus(code *int64, signal syscall.Signal) string {
	if code != nil {
		return strconv.FormatInt(*code, 10)
	}
	return strconv.Itoa(int(signal))
}

// TestRuntimeUnitHasOnlyThePayload looks into the control group of each shipped profile.
func TestRuntimeUnitHasOnlyThePayload(t *testing.T) {
	if testing.Short() {
		t.Skip("SHORT=1: TestEngineParity sees other processes, too")
	}
	needsEngine(t, runtimeEngine)
	begin(t)
	withEngine(t, runtimeEngine)
	for profile, make := range kinds {
		t.Run(profile, func(t *testing.T) {
			k := make(t)
			s := k.launch(t)
			payload := inSameNamespace(t, int(*s.Runtime.ProcessID))
			group := show(t, s.Runtime.Unit, "ControlGroup")
			if got := processesIn(t, group); !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(payload))) {
				t.Errorf("the processes %v are in the unit, the payload is %v", got, payload)
			}
			if below, _ := filepath.Glob("/sys/fs/cgroup" + group + "/*/"); len(below) > 0 {
				t.Errorf("there are control groups below the unit's: %v", below)
			}
			if got := show(t, s.Runtime.Unit, "MainPID"); got != strconv.Itoa(payload[0]) {
				t.Errorf("the main process is %s, want %d", got, payload[0])
			}
		})
	}
}

// TestRuntimeImageThatIsRemoved has podman remove an image that a sidecar runs. A container
// keeps podman from that, a mount does not: where podman removes it, this logs what becomes of
// the sidecar. haproxy executes itself again out of the image when it reloads.
func TestRuntimeImageThatIsRemoved(t *testing.T) {
	needsEngine(t, runtimeEngine)
	begin(t)
	withEngine(t, runtimeEngine)
	flatImage(t, changingImage)
	k, _ := newHaproxy(t)
	withPolicy(t, "profiles.d", "haproxy", imageLine.ReplaceAllString(shippedFiles(t)["haproxy"], `image = "`+changingImage+`"`))
	for name, words := range map[string][]string{
		"rmi": {"rmi", changingImage}, "rmi -f": {"rmi", "-f", changingImage}, "prune": {"image", "prune", "-a", "-f"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := output("podman", "image", "exists", changingImage); err != nil {
				flatImage(t, changingImage)
				reload(t)
			}
			keepImages(t, changingImage)
			k.survives(t, words)
		})
	}
}

// survives launches, has podman run a command, and reloads.
func (k kind) survives(t *testing.T, words []string) {
	t.Helper()
	s := k.launch(t)
	pid := int(*s.Runtime.ProcessID)
	text, err := output(append([]string{"podman"}, words...)...)
	_, existsErr := output("podman", "image", "exists", changingImage)
	t.Logf("podman %v: %q, %v; the image exists: %v", words, text, err, existsErr == nil)
	if !alive(pid) {
		t.Fatal("the sidecar has ended")
	}
	if existsErr == nil {
		k.reloads(t, s)
		return
	}
	_, programErr := os.Stat(fmt.Sprintf("/proc/%d/root/usr/sbin/haproxy", pid))
	_ = as(t, k.agent).Signal(minute(t), interfaces.SignalParameters{ID: s.ID, Signal: "SIGHUP"})
	time.Sleep(time.Second)
	t.Logf("its program, in the container: %v; it lives after a reload: %v", programErr, alive(pid))
	_, err = as(t, k.agent).Launch(minute(t), k.parameters())
	t.Logf("launched again: %v", err)
}

// flatImage makes an image with the files of the tests' own in one layer that no other image
// has. It is removed when the test ends.
func flatImage(t *testing.T, name string) {
	t.Helper()
	run(t, "podman", "create", "--name=maker", "--network=none", image, "/bin/true")
	defer run(t, "podman", "rm", "maker")
	run(t, "bash", "-c", `set -o pipefail; podman export maker | podman import -q - "$0"`, name)
	t.Cleanup(func() { removeImage(t, name) })
}

// keepImages has a container for each image but one, so that podman does not prune it.
func keepImages(t *testing.T, but string) {
	t.Helper()
	except := run(t, "podman", "image", "inspect", "--format={{.Id}}", but)
	for _, id := range strings.Fields(run(t, "podman", "images", "-q", "--no-trunc")) {
		if id = strings.TrimPrefix(id, "sha256:"); id == except {
			continue
		}
		name := "keeps-" + id[:12]
		run(t, "podman", "create", "--name="+name, "--network=none", id, "/bin/true")
		t.Cleanup(func() { run(t, "podman", "rm", "-f", "-i", name) })
	}
}
