//go:build testhost

package test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/spool"
)

// TestSpoolHostileEntries shows that what is no request is moved aside with a
// reason, by the confined server, while good requests are carried out.
func TestSpoolHostileEntries(t *testing.T) {
	begin(t)
	namespace(t, "t-spool")
	c := withSpool(t)
	stopAllAtEnd(t, spooled)
	fresh := filepath.Join(spoolOnHost, spool.New)
	name := func(n int) string { return spool.File(fmt.Sprintf("%032x", n)) }
	hand(t, name(1), "{", spoolUser)
	hand(t, name(2), strings.Repeat(" ", spool.MaxRequest+1), spoolUser)
	hand(t, name(3), `{"method":"io.tripleo.Sidecar.List"}`, 4243)
	hand(t, "not a name\n", "{}", spoolUser)
	run(t, "ln", "-s", "/etc/shadow", filepath.Join(fresh, name(4)))
	run(t, "mkfifo", filepath.Join(fresh, name(5)))
	run(t, "mkdir", "-p", filepath.Join(fresh, name(6), "x"))
	run(t, "mknod", filepath.Join(fresh, name(7)), "c", "1", "3")
	// The agent makes its directory sticky, and its directory's entries anybody's.
	run(t, "chmod", "1777", fresh)
	if _, err := c.Launch(minute(t), probe(t, "t-spool")); err != nil {
		t.Error(err)
	}
	reasons := ""
	eventually(t, 10*time.Second, "the hostile entries are moved aside", func() bool {
		found, _ := filepath.Glob(filepath.Join(spoolOnHost, spool.Refused, "*.reason"))
		reasons = run(t, "sh", "-c", "cat "+filepath.Join(spoolOnHost, spool.Refused, "*.reason")+" || true")
		return len(found) == 8
	})
	for _, want := range []string{
		"262145 bytes", "belongs to user 4243", `name: "not a name\n"`, "a symbolic link", "a fifo", "a directory", "a device",
	} {
		if !strings.Contains(reasons, want) {
			t.Errorf("no reason says %q: %s", want, reasons)
		}
	}
	for n := 1; n <= 7; n++ {
		text, err := os.ReadFile(filepath.Join(spoolOnHost, spool.Results, name(n)))
		if err != nil || !strings.Contains(string(text), "org.varlink.service.InvalidParameter") {
			t.Errorf("result %d: %s, %v", n, text, err)
		}
	}
	eventually(t, 10*time.Second, "the server has exited", func() bool { return show(t, serverUnit, "ActiveState") == "inactive" })
	if state := show(t, watchUnit, "ActiveState"); state != "active" {
		t.Errorf("%s is %s", watchUnit, state)
	}
}

// TestSpoolEntryThatStays shows that an entry which nobody can move does not make
// systemd start the server for ever, and does not keep others waiting.
func TestSpoolEntryThatStays(t *testing.T) {
	begin(t)
	namespace(t, "t-spool")
	c := withSpool(t)
	stopAllAtEnd(t, spooled)
	path := filepath.Join(spoolOnHost, spool.New, "stays")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := setImmutable(path, true); err != nil {
		t.Fatal(err)
	}
	defer setImmutable(path, false)
	if _, err := c.Launch(minute(t), probe(t, "t-spool")); err != nil {
		t.Error(err)
	}
	pid := show(t, serverUnit, "MainPID")
	time.Sleep(time.Second)
	if now := show(t, serverUnit, "MainPID"); now != pid || pid == "0" {
		t.Errorf("the server was process %s and is %s", pid, now)
	}
}

// TestSpoolHostileSocket shows that an agent which can write into its socket's
// directory cannot lead the server to the host's socket, where root may do anything,
// nor to another agent's.
func TestSpoolHostileSocket(t *testing.T) {
	begin(t)
	namespace(t, "t-spool")
	c := withSpool(t)
	others := start(t, tester, probe(t, "t-spool"))
	own, kept := socketOf(spooled), filepath.Dir(socketOf(spooled))+"/kept"
	for _, target := range []string{hostSocket, "../" + tester + "/io.tripleo.Sidecar"} {
		run(t, "mv", own, kept)
		run(t, "ln", "-s", target, own)
		done := make(chan error, 1)
		go func() {
			_, err := c.Stop(minute(t), interfaces.StopParameters{ID: others.ID})
			done <- err
		}()
		eventually(t, 5*time.Second, "the request is claimed", func() bool {
			claimed, err := os.ReadDir(filepath.Join(spoolOnHost, spool.Claimed))
			return err == nil && len(claimed) > 0 || len(done) > 0
		})
		time.Sleep(300 * time.Millisecond) // several tries to connect
		run(t, "mv", "-T", kept, own)
		if err := <-done; !errors.Is(err, interfaces.ErrNoSuchSidecar) {
			t.Errorf("a link to %s: %v", target, err)
		}
		if !alive(int(*others.Runtime.ProcessID)) {
			t.Fatalf("by a link to %s another agent's sidecar was stopped", target)
		}
	}
}

// setImmutable sets or clears FS_IMMUTABLE_FL (ioctl_iflags(2)).
func setImmutable(path string, on bool) error {
	const immutable = 0x10
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := 0
	if on {
		flags = immutable
	}
	return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags)
}

func TestSpoolHardeningScore(t *testing.T) {
	begin(t)
	c := withSpool(t)
	if _, err := c.List(minute(t), interfaces.ListParameters{}); err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(show(t, serverUnit, "MainPID"))
	if err != nil || pid == 0 {
		t.Fatalf("the server has exited before it was looked at: %v", err)
	}
	const dacOverride, fowner = 1, 3 // linux/capability.h
	for field, want := range map[string]string{"CapEff": fmt.Sprintf("%016x", 1<<dacOverride|1<<fowner), "NoNewPrivs": "1", "Seccomp": "2"} {
		if got := status(t, pid, field); got != want {
			t.Errorf("%s is %s, want %s", field, got, want)
		}
	}
	mounts := mountsOf(t, pid)
	for target, want := range map[string]string{"/": "ro", spoolOnHost: "rw", "/run/sidecar-spool": "rw"} {
		if got, _, _ := strings.Cut(mounts[target], ","); got != want {
			t.Errorf("%s is mounted %q for the server, want %s", target, mounts[target], want)
		}
	}
	checkScore(t, serverUnit)
	checkScore(t, "sidecar-spool-directory@"+spooled+".service")
}
