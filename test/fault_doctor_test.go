//go:build testhost

package test

import (
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// Exit codes of sidecarctl doctor.
const (
	toolWarnings = 7
	toolErrors   = 8
)

// finding is one of sidecarctl doctor.
type finding struct{ Level, Look, Subject, Problem, Advice string }

// examine runs looks of the doctor.
func examine(t *testing.T, looks ...string) ([]finding, int) {
	t.Helper()
	r := sidecarctl(t, 0, append([]string{"doctor", "-o", "json"}, looks...)...)
	var found []finding
	if err := json.Unmarshal([]byte(r.stdout), &found); err != nil {
		t.Fatalf("%v: %v", err, r)
	}
	return found, r.code
}

// finds returns the doctor's finding about a subject, or nil.
func finds(t *testing.T, look, subject, problem string) *finding {
	t.Helper()
	found, code := examine(t, look)
	i := slices.IndexFunc(found, func(f finding) bool { return f.Subject == subject && strings.Contains(f.Problem, problem) })
	if i < 0 {
		return nil
	}
	if want := map[string]int{"error": toolErrors, "warning": toolWarnings}[found[i].Level]; code < want {
		t.Errorf("exit code %d with %+v", code, found[i])
	}
	return &found[i]
}

var quoted = regexp.MustCompile(`'([^']+)'`)

// followAdvice runs the commands that an advice names.
func followAdvice(t *testing.T, advice string) {
	t.Helper()
	for _, command := range quoted.FindAllStringSubmatch(advice, -1) {
		if strings.HasPrefix(command[1], "journalctl -u") || command[1] == "sidecarctl check" {
			continue // says more
		}
		if _, err := output("sh", "-c", command[1]); err != nil {
			t.Errorf("advice: %v", err)
		}
	}
}

// doctorCase is a fault, and what the doctor finds. Following the advice mends it.
type doctorCase struct {
	look, subject, problem string
	mend                   func() // what no command of the advice can do, before it is followed
}

// check waits for the finding, follows its advice, and waits until it is gone.
func (c doctorCase) check(t *testing.T) {
	t.Helper()
	var found *finding
	eventually(t, 5*time.Second, "the doctor finds "+c.problem, func() bool {
		found = finds(t, c.look, c.subject, c.problem)
		return found != nil
	})
	if c.mend != nil {
		c.mend()
	}
	followAdvice(t, found.Advice)
	eventually(t, 10*time.Second, "the advice "+found.Advice+" has mended it", func() bool {
		return finds(t, c.look, c.subject, c.problem) == nil
	})
}

// current is called when an advice has restarted the daemon.
func current() {
	if pid, err := daemonPID(); err == nil {
		expectedDaemon = pid
	}
}

func TestFaultDoctorService(t *testing.T) {
	begin(t)
	t.Cleanup(current)
	t.Run("stopped", func(t *testing.T) {
		run(t, "systemctl", "stop", "sidecard")
		doctorCase{"service", "sidecard.service", "does not answer", nil}.check(t)
		current()
	})
	broken := policyFile("agents.d", "broken")
	remove := func() { _ = os.Remove(broken) }
	t.Run("broken file", func(t *testing.T) {
		t.Cleanup(remove)
		write(t, broken, "profils = 1\n")
		doctorCase{"service", "policy files", "broken.toml", remove}.check(t)
	})
	t.Run("refused reload", func(t *testing.T) {
		t.Cleanup(remove)
		write(t, broken, "profils = 1\n")
		if _, err := output("systemctl", "reload", "sidecard"); err == nil {
			t.Error("the reload is accepted")
		}
		doctorCase{"service", "sidecard.service", "has refused", remove}.check(t)
	})
	t.Run("socket", func(t *testing.T) {
		if err := os.Remove(socketOf(tester)); err != nil {
			t.Fatal(err)
		}
		doctorCase{"sockets", tester, "no socket", nil}.check(t)
	})
	t.Run("bus policy", func(t *testing.T) {
		const file = "/usr/share/dbus-1/system.d/io.tripleo.Sidecar1.conf"
		text := readFile(t, file)
		install := func() { write(t, file, text) }
		t.Cleanup(func() {
			install()
			run(t, "systemctl", "reload", "dbus.service")
		})
		run(t, "rm", file)
		run(t, "systemctl", "reload", "dbus.service")
		doctorCase{"bus", "io.tripleo.Sidecar1", "bus policy is missing", install}.check(t)
		current()
	})
}

func TestFaultDoctorSidecars(t *testing.T) {
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		namespace(t, "t-doctor")
		t.Run("failed", func(t *testing.T) {
			p := probe(t, "t-doctor", "--exit=7")
			id := checkFailure(t, tester, p, 7, "told to exit")
			doctorCase{"units", id, "has failed", nil}.check(t)
		})
		t.Run("pid file", func(t *testing.T) {
			p := probe(t, "t-doctor", "--text=%i %% $HOME 'x' \"y\" \\z ü")
			s := start(t, tester, p)
			if f := finds(t, "pid-files", s.ID, ""); f != nil {
				t.Errorf("a good one: %+v", f)
			}
			write(t, pidFileOf(p.Arguments), "1\n")
			doctorCase{"pid-files", s.ID, "names process 1", nil}.check(t)
			checkRunning(t, get(t, tester, s.ID), p)
		})
		t.Run("no process", func(t *testing.T) {
			if usedEngine == runtimeEngine {
				t.Skip("the process is the unit's main process: systemd sees its end")
			}
			p := probe(t, "t-doctor")
			s := start(t, tester, p)
			monitor, _ := strconv.Atoi(show(t, s.Runtime.Unit, "MainPID"))
			if err := errors.Join(syscall.Kill(monitor, syscall.SIGSTOP), syscall.Kill(int(*s.Runtime.ProcessID), syscall.SIGKILL)); err != nil {
				t.Fatal(err)
			}
			doctorCase{"units", s.ID, "process does not exist", nil}.check(t)
			checkRunning(t, get(t, tester, s.ID), p)
		})
		t.Run("no container", func(t *testing.T) {
			if usedEngine == runtimeEngine {
				t.Skip("the runtime is asked for nothing while the container runs")
			}
			s := start(t, tester, probe(t, "t-doctor"))
			run(t, "podman", "rename", strings.TrimSuffix(s.Runtime.Unit, ".service"), "mine")
			doctorCase{"units", s.ID, "podman has no container", nil}.check(t)
			t.Cleanup(func() { _, _ = output("podman", "rm", "-f", "-i", "mine") })
		})
		t.Run("container without a unit", func(t *testing.T) {
			if usedEngine == runtimeEngine {
				t.Skip("only podman lists containers; sidecar-clean.service removes the runtime's, too")
			}
			id := interfaces.NewID(tester, "probe", "/var/lib/tester/orphan")
			leaveContainer(t, id)
			doctorCase{"containers", id.Container(), "has no unit", nil}.check(t)
		})
	})
}

func TestFaultDoctorHost(t *testing.T) {
	begin(t)
	namespace(t, "t-doctor")
	t.Run("unshared", func(t *testing.T) {
		t.Cleanup(func() { // with the mount gone, the daemon needs the one below
			run(t, "systemctl", "restart", "sidecard")
			current()
		})
		unshareNetns(t)
		doctorCase{"namespaces", "/run/netns", "not shared", nil}.check(t)
		current()
		if f := finds(t, "namespaces", "sidecard.service", ""); f != nil {
			t.Errorf("%+v", f)
		}
		start(t, tester, probe(t, "t-doctor"))
	})
	t.Run("shared again", func(t *testing.T) {
		t.Cleanup(func() {
			run(t, "systemctl", "restart", "sidecard")
			current()
		})
		unshareNetns(t)
		run(t, "mount", "--make-shared", "/run/netns")
		doctorCase{"namespaces", "sidecard.service", "new names", nil}.check(t)
		current()
	})
	t.Run("no namespace", func(t *testing.T) {
		if err := os.WriteFile(netnsDirectory+"t-plain", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		doctorCase{"namespaces", netnsDirectory + "t-plain", "empty file", nil}.check(t)
	})
	t.Run("image", func(t *testing.T) {
		withPolicy(t, "profiles.d", "probe", strings.Replace(profileFiles()["probe"], image, changingImage, 1))
		t.Cleanup(func() { _, _ = output("podman", "untag", image, changingImage) })
		found := finds(t, "images", "probe", changingImage)
		if found == nil || !strings.Contains(found.Advice, "sidecarctl pull probe") {
			t.Fatalf("found %+v", found)
		}
		run(t, "podman", "tag", image, changingImage) // no registry is here
		if found := finds(t, "images", "probe", changingImage); found != nil {
			t.Errorf("the image is there, and it finds %+v", found)
		}
	})
	t.Run("runtime", func(t *testing.T) {
		const program = "/usr/local/bin/no-such-runtime"
		t.Cleanup(func() { _ = os.Remove(program) })
		withPolicy(t, "profiles.d", "probe", "runtime = [\"no-such-runtime\"]\nruntime-required = true\n"+profileFiles()["probe"])
		install := func() {
			if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
				t.Error(err)
			}
		}
		doctorCase{"runtimes", "probe", "no-such-runtime", install}.check(t)
	})
	t.Run("journald", func(t *testing.T) {
		pid, _ := strconv.Atoi(show(t, "systemd-journald", "MainPID"))
		t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		doctorCase{"journal", "systemd-journald.service", "does not read", nil}.check(t)
	})
	t.Run("leftovers", func(t *testing.T) {
		id := interfaces.NewID(tester, "probe", "/var/lib/tester/orphan").String()
		for _, directory := range []string{"/run/sidecar/leftovers", "/run/sidecar/launch"} {
			if err := os.MkdirAll(directory, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		write(t, "/run/sidecar/leftovers/"+id, `["/bin/true"]`)
		doctorCase{"leftovers", "/run/sidecar/leftovers/" + id, "could not be removed", nil}.check(t)
		if err := os.Mkdir("/run/sidecar/launch/"+id, 0o700); err != nil {
			t.Fatal(err)
		}
		doctorCase{"leftovers", "/run/sidecar/launch/" + id, "pins", nil}.check(t)
	})
	t.Run("versions", func(t *testing.T) {
		found, code := examine(t, "versions")
		for _, f := range found {
			if f.Level != "note" {
				t.Errorf("%+v", f)
			}
		}
		if code != toolDone {
			t.Errorf("exit code %d of %+v", code, found)
		}
	})
}

// TestFaultDoctorNeverHangs: journald, the bus and the service do not answer.
func TestFaultDoctorNeverHangs(t *testing.T) {
	begin(t)
	withSettings(t, "WatchdogSec=0") // systemd would kill the stopped daemon
	namespace(t, "t-doctor")
	start(t, tester, probe(t, "t-doctor"))
	if r := sidecarctl(t, stranger, "doctor", "units"); r.code != toolWarnings || !strings.Contains(r.stdout, "only root can see it") {
		t.Errorf("as another user: %v", r)
	}
	for _, unit := range []string{"systemd-journald", "dbus", "sidecard"} {
		pid, _ := strconv.Atoi(show(t, unit, "MainPID"))
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
	}
	began := time.Now()
	found, code := examine(t)
	if took := time.Since(began); took > 25*time.Second { // the watchdog of a usual service has 30 s
		t.Errorf("it took %v", took)
	}
	if code != toolErrors {
		t.Errorf("exit code %d", code)
	}
	for _, look := range []string{"journal", "bus", "service"} {
		if !slices.ContainsFunc(found, func(f finding) bool { return f.Look == look && f.Level != "note" }) {
			t.Errorf("nothing is said of %s: %+v", look, found)
		}
	}
}
