//go:build testhost

package test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

func TestFaultDaemonReloadDuringLaunches(t *testing.T) {
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		duringLaunches(t, "systemctl", "daemon-reload")
	})
}

// TestFaultBusStopped: nothing can be launched while the bus does not answer, calls end within
// their time, and what runs goes on.
func TestFaultBusStopped(t *testing.T) {
	begin(t)
	namespace(t, "t-bus")
	pid, err := strconv.Atoi(show(t, "dbus.service", "MainPID"))
	if err != nil || pid == 0 {
		t.Fatalf("the bus is process %d, %v", pid, err)
	}
	checkWithoutBus(t, func() {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}, func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
}

func TestFaultBusGone(t *testing.T) {
	begin(t)
	namespace(t, "t-bus")
	checkWithoutBus(t, func() {
		run(t, "systemctl", "stop", "dbus.socket", "dbus.service")
	}, func() { run(t, "systemctl", "start", "dbus.socket", "dbus.service") })
}

func checkWithoutBus(t *testing.T, fault, mend func()) {
	t.Helper()
	s := start(t, tester, probe(t, "t-bus"))
	p := probe(t, "t-bus")
	stopAtEnd(t, tester, idOf(tester, p).String())
	t.Cleanup(mend)
	fault()
	refused(t, tester, p, interfaces.ErrHostFailure)
	if !alive(int(*s.Runtime.ProcessID)) {
		t.Error("what ran has ended")
	}
	mend()
	// The start whose caller was told of a host failure may begin now, or not at all.
	eventually(t, 20*time.Second, "a launch works again", func() bool {
		_, err := as(t, tester).Launch(minute(t), p)
		return err == nil
	})
	checkRunning(t, get(t, tester, idOf(tester, p).String()), p)
	if got := processesWith(pidFileOf(p.Arguments)); len(got) != 1 {
		t.Errorf("processes %v", got)
	}
	if now := get(t, tester, s.ID); *now.Runtime.InvocationID != *s.Runtime.InvocationID {
		t.Error("what ran was started again")
	}
}

// TestFaultJournaldGone: without journald sidecars start, run and stop.
func TestFaultJournaldGone(t *testing.T) {
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		namespace(t, "t-journald")
		sockets := []string{"systemd-journald.socket", "systemd-journald-dev-log.socket"}
		run(t, append([]string{"systemctl", "stop"}, append(sockets, "systemd-journald.service")...)...)
		again := func() {
			run(t, append([]string{"systemctl", "start"}, append(sockets, "systemd-journald.service")...)...)
		}
		t.Cleanup(again)
		p := probe(t, "t-journald")
		s := start(t, tester, p)
		if _, err := as(t, tester).Stop(minute(t), interfaces.StopParameters{ID: s.ID}); err != nil {
			t.Errorf("stop: %v", err)
		}
		again()
		since := now()
		start(t, tester, p)
		eventually(t, 10*time.Second, "decisions are in the journal again", func() bool {
			return len(entriesSince(t, since, decisionID, "AGENT="+tester)) > 0
		})
	})
}

// TestFaultShutdown stops the slice of all sidecars, as systemd does when the host shuts down:
// all at the same time, and without the service. A virtual machine measures the whole shutdown.
func TestFaultShutdown(t *testing.T) {
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		all := networks(t, 20)
		collect(t, burst(t, all, 20), len(all))
		began := time.Now()
		run(t, "systemctl", "stop", "sidecar.slice")
		took := time.Since(began)
		t.Logf("%d sidecars were stopped in %v", len(all), took)
		// The time-out of a stop, and what podman may take to remove containers one by one.
		if took > slowness*15*time.Second {
			t.Errorf("%d sidecars were stopped in %v", len(all), took)
		}
		if failed := run(t, "systemctl", "list-units", "--failed", "--plain", "--no-legend", "sidecar-*"); failed != "" {
			t.Errorf("failed units: %s", failed)
		}
		if err := becomesClean(); err != nil {
			t.Error(err)
		}
	})
}

// TestFaultClockJumps sets the clock an hour ahead and an hour back. It is the whole machine's.
func TestFaultClockJumps(t *testing.T) {
	if os.Getenv("SIDECAR_TESTHOST_MACHINE") == "" {
		t.Skip("it would set the clock of the whole machine: make vm-test runs this")
	}
	begin(t)
	namespace(t, "t-clock")
	p := shaped(t, "phoenix", "t-clock")
	s := start(t, tester, p)
	for i, hours := range []int64{1, -1} {
		gated := shaped(t, "gated", "t-clock")
		stopAtEnd(t, tester, idOf(tester, gated).String())
		launched := make(chan error, 1)
		go func() {
			_, err := as(t, tester).Launch(minute(t), gated)
			launched <- err
		}()
		eventually(t, 15*time.Second, "a start is under way", func() bool {
			_, err := as(t, tester).Get(minute(t), idOf(tester, gated).String())
			return err == nil
		})
		setClock(t, hours)
		openGate(t, gated)
		if err := <-launched; err != nil {
			t.Errorf("a launch during a jump of %d hours: %v", hours, err)
		}
		if now := get(t, tester, s.ID); *now.Runtime.ProcessID != *s.Runtime.ProcessID {
			t.Errorf("after a jump of %d hours the sidecar is another one", hours)
		}
		crash(t, s)
		s = awaitRestart(t, s.ID, int64(i+1))
		checkRunning(t, s, p)
	}
}

// setClock sets CLOCK_REALTIME so many hours ahead.
func setClock(t *testing.T, hours int64) {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &now); err != nil {
		t.Fatal(err)
	}
	run(t, "date", "--set=@"+fmt.Sprint(now.Sec+hours*3600))
}

// TestFaultDescriptorsUsedUp: a daemon without descriptors refuses nobody for good, and does not
// end.
func TestFaultDescriptorsUsedUp(t *testing.T) {
	begin(t)
	namespace(t, "t-files")
	withSettings(t, "LimitNOFILE=40")
	since := now()
	var open []int
	t.Cleanup(func() {
		for _, fd := range open {
			unix.Close(fd)
		}
	})
	for _, agent := range []string{tester, limited, pocket, onHost, neutron} {
		for range 20 {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, fd)
			_ = unix.Connect(fd, &unix.SockaddrUnix{Name: socketOf(agent)}) // or its queue is full
		}
	}
	eventually(t, 10*time.Second, "the daemon has no descriptor left", func() bool {
		return strings.Contains(run(t, "journalctl", "-q", "-o", "cat", "-u", "sidecard", "--since="+since), "too many open files")
	})
	for _, fd := range open {
		unix.Close(fd)
	}
	open = nil
	descriptors := "/proc/" + show(t, "sidecard.service", "MainPID") + "/fd"
	eventually(t, 10*time.Second, "the daemon has closed the connections", func() bool {
		files, err := os.ReadDir(descriptors)
		return err == nil && len(files) < 32
	})
	start(t, tester, probe(t, "t-files"))
}

// TestFaultLocksUsedUp: podman has a lock for each container, and none is left.
func TestFaultLocksUsedUp(t *testing.T) {
	begin(t)
	namespace(t, "t-locks")
	const file = "/etc/containers/containers.conf.d/99-locks.conf"
	run(t, "mkdir", "-p", "/etc/containers/containers.conf.d")
	var holders []string
	again := func() {
		_ = os.Remove(file)
		renumber(t)
	}
	t.Cleanup(func() {
		again()
		run(t, append([]string{"podman", "rm", "-f", "-i"}, holders...)...)
	})
	imagesPrepared(t)
	used := 0
	for _, list := range [][]string{{"podman", "ps", "-a", "-q"}, {"podman", "pod", "ps", "-q"}, {"podman", "volume", "ls", "-q"}} {
		used += len(strings.Fields(run(t, list...)))
	}
	const inBlocks = 32
	locks := (used/inBlocks + 1) * inBlocks // podman rounds the number up
	write(t, file, fmt.Sprintf("[engine]\nnum_locks = %d\n", locks))
	renumber(t)
	for {
		name := fmt.Sprint("holder-", len(holders))
		if _, err := output("podman", "create", "--name="+name, "--network=none", image, "/bin/true"); err != nil {
			t.Logf("%d locks, %d in use before, %d more taken: %v", locks, used, len(holders), err)
			break
		}
		if holders = append(holders, name); len(holders) > locks {
			t.Fatalf("podman has more than %d locks", locks)
		}
	}
	p := probe(t, "t-locks")
	stopAtEnd(t, tester, idOf(tester, p).String())
	err := refused(t, tester, p, interfaces.ErrLaunchFailed)
	if !strings.Contains(err.Error(), "lock") {
		t.Errorf("it says %v", err)
	}
	again()
	start(t, tester, p)
}

// TestFaultPodmanForgets: podman's temporary directory is removed. podman takes that for a boot, and
// its pod of the images for the runtime engine has no state.
func TestFaultPodmanForgets(t *testing.T) {
	begin(t)
	withEngine(t, interfaces.EngineRuntime)
	namespace(t, "t-forgets")
	keepers := func() string {
		return run(t, "podman", "ps", "-a", "--sort=names", "--filter=name=^sidecar-image-", "--format={{.Names}}")
	}
	before := keepers()
	run(t, "rm", "-rf", "/run/libpod")
	newImage(t, changingImage, "forgotten")
	withChangingImage(t)
	start(t, tester, probe(t, "t-forgets"))
	after := keepers()
	for name := range strings.Lines(before) {
		if !strings.Contains(after, strings.TrimSpace(name)) {
			t.Errorf("%s is not kept any more: podman may remove its image below running sidecars", name)
		}
	}
	if len(after) <= len(before) {
		t.Errorf("kept before %q, afterwards %q", before, after)
	}
}

// renumber has podman make its locks again, as 'sidecarctl check' says. 'podman system renumber'
// alone fails when their number has changed (podman 5.4; issue 16119 of podman).
func renumber(t *testing.T) {
	t.Helper()
	run(t, "rm", "-f", "/dev/shm/libpod_lock")
	run(t, "podman", "system", "renumber")
}
