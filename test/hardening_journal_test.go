//go:build testhost

package test

import (
	"errors"
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

const lostID = "MESSAGE_ID=dc41e4dbf0974922b32ce48281f51129"

// stopJournald stops journald and fills its sockets, until it is told to go on or the
// test ends. systemd's watchdog would kill it after 3 minutes.
func stopJournald(t *testing.T) (goOn func()) {
	t.Helper()
	pid, err := strconv.Atoi(show(t, "systemd-journald", "MainPID"))
	if err != nil || pid == 0 {
		t.Fatalf("journald is process %d, %v", pid, err)
	}
	goOn = func() {
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			t.Errorf("journald: %v", err)
		}
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(goOn)
	for _, path := range []string{"/run/systemd/journal/socket", "/run/systemd/journal/dev-log"} {
		t.Logf("%s took %d messages", path, fillSocket(t, path))
	}
	return goOn
}

// fillSocket sends messages to a socket until it takes no more.
func fillSocket(t *testing.T, path string) (sent int) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	message := []byte("MESSAGE=filler\nPRIORITY=7\n")
	if strings.HasSuffix(path, "log") {
		message = []byte("<15>filler: filler")
	}
	for ; sent < 1<<20; sent++ {
		err := unix.Sendto(fd, message, unix.MSG_NOSIGNAL, &unix.SockaddrUnix{Name: path})
		if errors.Is(err, unix.EAGAIN) {
			return sent
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal(path + " never fills up")
	return sent
}

// TestHardeningJournalThatDoesNotRead stops journald while its sockets are full.
// Refusals, launches, stops, reloads and a launch that fails go on all the same, and
// afterwards every decision is in the journal or counted as lost.
func TestHardeningJournalThatDoesNotRead(t *testing.T) {
	begin(t)
	const launches, refusals = 6, 50
	var asked []interfaces.LaunchParameters
	for i := range launches {
		name := fmt.Sprintf("t-deaf%d", i)
		namespace(t, name)
		asked = append(asked, probe(t, name))
	}
	stopAllAtEnd(t, tester)
	since := now()
	goOn := stopJournald(t)
	began := time.Now()

	if err := atOnce(launches, asked, func(p interfaces.LaunchParameters) error {
		s, err := as(t, tester).Launch(minute(t), p)
		if err != nil {
			return err
		}
		return running(s, p.Arguments)
	}); err != nil {
		t.Errorf("launches: %v", err)
	}
	bad := asked[0]
	bad.Arguments = append(bad.Arguments[:1:1], "--evil")
	for range refusals {
		refused(t, tester, bad, interfaces.ErrArgumentNotAllowed)
	}
	failing := asked[1]
	failing.Arguments = append(failing.Arguments[:len(failing.Arguments):len(failing.Arguments)], "--exit=5")
	if _, err := as(t, tester).Launch(minute(t), failing); !errors.Is(err, interfaces.ErrLaunchFailed) {
		t.Errorf("a launch that fails: %v", err)
	}
	reload(t)
	all, err := as(t, tester).List(minute(t), interfaces.ListParameters{})
	if err != nil || len(all) != launches {
		t.Errorf("%d sidecars, %v; want %d", len(all), err, launches)
	}
	if _, err := as(t, tester).Stop(minute(t), interfaces.StopParameters{ID: all[0].ID}); err != nil {
		t.Errorf("stop: %v", err)
	}
	t.Logf("all of it took %v", time.Since(began))

	goOn()
	want := launches + 1 + refusals + 1
	got := 0
	eventually(t, 10*time.Second, "the decisions are in the journal or counted as lost", func() bool {
		got = len(entriesSince(t, since, decisionID, "AGENT="+tester))
		for _, e := range entriesSince(t, since, lostID) {
			text, _ := e["LOST"].(string)
			n, _ := strconv.Atoi(text)
			got += n
		}
		return got >= want
	})
	if got != want {
		t.Errorf("%d decisions are in the journal or counted as lost, want %d", got, want)
	}
}

// TestHardeningJournalStreamThatDoesNotRead fills the daemon's own log, a stream to
// journald (systemd gives it 8 MiB) that is not read. The daemon goes on, its log says
// afterwards how many lines are lost, and it ends within its time while nobody reads.
func TestHardeningJournalStreamThatDoesNotRead(t *testing.T) {
	begin(t)
	const loud, reloads = 500, 50 // 25,000 lines
	text := strings.Replace(profileFiles()["probe"], `restart = "no"`, "restart = \"no\"\npid-namespace = \"host\"", 1)
	t.Cleanup(func() {
		for i := range loud {
			_ = os.Remove(policyFile("profiles.d", fmt.Sprintf("loud-%d", i)))
		}
		reload(t)
	})
	for i := range loud { // each reload warns of each of them
		if err := writePolicy("profiles.d", fmt.Sprintf("loud-%d", i), text); err != nil {
			t.Fatal(err)
		}
	}
	since := now()
	goOn := stopJournald(t)
	for range reloads {
		reload(t)
	}
	if _, err := as(t, tester).ListProfiles(minute(t), nil); err != nil {
		t.Errorf("while nobody reads: %v", err)
	}
	goOn()
	eventually(t, 10*time.Second, "the log says how many lines are lost", func() bool {
		return strings.Contains(run(t, "journalctl", "-q", "-o", "cat", "-u", "sidecard", "--since="+since), "lines of this log are lost")
	})

	goOn = stopJournald(t)
	for range reloads {
		reload(t)
	}
	run(t, "systemctl", "stop", "sidecard")
	if result := show(t, "sidecard", "Result"); result != "success" {
		t.Errorf("the daemon ended with %s", result)
	}
	goOn()
	startDaemon(t)
}

// startDaemon starts the daemon that a test has stopped.
func startDaemon(t *testing.T) {
	t.Helper()
	run(t, "systemctl", "start", "sidecard")
	pid, err := daemonPID()
	if err != nil {
		t.Fatal(err)
	}
	expectedDaemon = pid
}
