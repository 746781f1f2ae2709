//go:build testhost

package test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

// withUser installs an agent like tester whose file has one more line.
func withUser(t *testing.T, name, line string) {
	t.Helper()
	withPolicy(t, "agents.d", name, line+"\n"+agentFiles[tester])
}

// usersOf returns the user, the group and the groups of a process as one text.
func usersOf(t *testing.T, pid int) string {
	t.Helper()
	return strings.Fields(status(t, pid, "Uid"))[0] + ":" + strings.Fields(status(t, pid, "Gid"))[0] + " " + status(t, pid, "Groups")
}

// TestHardeningUserIsTheAgentsFilesChoice launches as each kind of user that a file can
// name; the state directory belongs to root, as with agents that run as root.
func TestHardeningUserIsTheAgentsFilesChoice(t *testing.T) {
	begin(t)
	namespace(t, "t-user")
	for line, want := range map[string]string{
		"":                          "42435:42435 42435",
		"sidecar-user = 4711":       "4711:4711 4711",
		`sidecar-user = "daemon"`:   "1:1 1",
		`sidecar-user = 0`:          "0:0 0",
		"sidecar-user = 2147483647": "2147483647:2147483647 2147483647",
	} {
		t.Run(line, func(t *testing.T) {
			withUser(t, "users", line)
			p := probe(t, "t-user")
			s := start(t, "users", p)
			pid := int(*s.Runtime.ProcessID)
			if got := usersOf(t, pid); got != want {
				t.Errorf("it runs as %s, want %s", got, want)
			}
			if got, want := status(t, pid, "CapEff"), fmt.Sprintf("%016x", 1<<unix.CAP_NET_RAW); got != want {
				t.Errorf("its capabilities are %s, want %s", got, want)
			}
			var st unix.Stat_t
			if err := unix.Stat(pidFileOf(p.Arguments), &st); err != nil || fmt.Sprintf("%d:%d", st.Uid, st.Gid) != strings.Fields(want)[0] {
				t.Errorf("the pid file belongs to %d:%d, %v", st.Uid, st.Gid, err)
			}
		})
	}
}

// TestHardeningUserThatAProfileAsksFor: root, and check says so.
func TestHardeningUserThatAProfileAsksFor(t *testing.T) {
	begin(t)
	namespace(t, "t-user")
	withPolicy(t, "profiles.d", "as-root", "user = \"root\"\n"+profileFiles()["probe"])
	withPolicy(t, "agents.d", "users", strings.Replace(agentFiles[tester], `["dnsmasq"`, `["as-root", "dnsmasq"`, 1))
	p := probe(t, "t-user")
	p.Profile = "as-root"
	if got := usersOf(t, int(*start(t, "users", p).Runtime.ProcessID)); got != "0:0 0" {
		t.Errorf("it runs as %s", got)
	}
	if got := run(t, "sidecarctl", "check"); !strings.Contains(got, "sidecars of profile as-root run as the host's user 0") {
		t.Errorf("check says %s", got)
	}
}

// TestHardeningUserThatMayNotWrite: what an agent gave to somebody else stays that
// user's, and the failure says why.
func TestHardeningUserThatMayNotWrite(t *testing.T) {
	begin(t)
	namespace(t, "t-user")
	p := probe(t, "t-user")
	dir := filepath.Dir(pidFileOf(p.Arguments))
	run(t, "chown", "4711:4711", dir)
	p.TimeoutUSec = new(int64(3_000_000)) // the shell goes on
	stopAtEnd(t, tester, idOf(tester, p).String())
	err := refused(t, tester, p, interfaces.ErrNotReady)
	if want := dir + " belongs to user 4711 with mode 0755, and the payload runs as user 42435"; !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
}

// TestHardeningUserHoldsThePayload: a payload that is taken over is an ordinary user, even
// in the host's pid namespace, where it sees the processes of root.
func TestHardeningUserHoldsThePayload(t *testing.T) {
	begin(t)
	for _, profile := range []string{"dnsmasq", "haproxy"} {
		t.Run(profile, func(t *testing.T) {
			a := targetOf(t, profile, `pid-namespace = "host"`)
			secret := filepath.Join(a.order, "of-another-user")
			write(t, secret, "secret")
			if err := errors.Join(os.Chmod(secret, 0o600), os.Chown(secret, 4711, 4711)); err != nil {
				t.Fatal(err)
			}
			got := a.attack(t, "user", a.writable, secret, strconv.Itoa(expectedDaemon))
			for name, answer := range got {
				want := []string{"EPERM", "EACCES"}
				switch name {
				case "set-user-ID":
					want = []string{strconv.Itoa(neutronUser)}
				case "inotify":
					want = []string{"EMFILE"}
				case "replace another's file": // the directory is the agent's own
					want = map[string][]string{"dnsmasq": {"ok"}, "haproxy": {"EXDEV", "EROFS"}}[profile]
				case "change a setting of the host":
					want = []string{"EROFS", "EACCES"}
				}
				if !slices.Contains(want, answer) {
					t.Errorf("%s: %s, want one of %v", name, answer, want)
				}
			}
			if len(got) < 15 {
				t.Errorf("it has tried %v only", got)
			}
			// The payload has used up its own user's instances, not root's.
			fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
			if err != nil {
				t.Fatalf("root has no inotify instance left: %v", err)
			}
			unix.Close(fd)
		})
	}
}

// TestHardeningNothingOfTheHostIsInherited looks at every descriptor of the shipped
// kinds' processes: sockets belong to the payload's network namespace, and no file of
// the host is among them.
func TestHardeningNothingOfTheHostIsInherited(t *testing.T) {
	begin(t)
	n := newNetwork(t)
	s := start(t, neutron, n.parameters())
	checkDescriptors(t, int(*s.Runtime.ProcessID), n.namespace)
	namespace(t, "t-inherits")
	s = start(t, tester, probe(t, "t-inherits"))
	checkDescriptors(t, int(*s.Runtime.ProcessID), "t-inherits")
	withUser(t, "users", "sidecar-user = 0")
	s = start(t, "users", probe(t, "t-inherits"))
	checkDescriptors(t, int(*s.Runtime.ProcessID), "t-inherits")
}

// TestHardeningOutputLeadsNowhere has a payload with NET_ADMIN ask each of its descriptors
// for the network namespace that it belongs to: under the filter nothing answers, and
// without it only the payload's own namespace does.
func TestHardeningOutputLeadsNowhere(t *testing.T) {
	begin(t)
	for filter, want := range map[string]string{"": "EPERM", seccompKey: "own"} {
		t.Run(filter, func(t *testing.T) {
			a := targetOf(t, "dnsmasq", filter)
			got := a.attack(t, "descriptors")
			sockets := 0
			for name, answer := range got {
				if strings.HasPrefix(name, "socket") {
					sockets++
					if answer != want {
						t.Errorf("%s answers %s, want %s", name, answer, want)
					}
				} else if answer == "own" || answer == "another" {
					t.Errorf("%s leads to a network namespace", name)
				}
			}
			if sockets == 0 {
				t.Errorf("no socket among %v", got)
			}
		})
	}
}

func checkDescriptors(t *testing.T, pid int, netns string) {
	t.Helper()
	names, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(names) < 3 {
		t.Fatalf("process %d has the descriptors %v, %v", pid, names, err)
	}
	sockets := 0
	for _, name := range names {
		target, err := os.Readlink(name)
		if err != nil {
			continue // closed meanwhile
		}
		switch kind, _, _ := strings.Cut(target, ":["); kind {
		case "socket":
			sockets++
			if got, want := namespaceOfSocket(t, pid, filepath.Base(name)), netnsOf(t, netns); got != want {
				t.Errorf("descriptor %s of process %d is a socket of network namespace %s, want %s", filepath.Base(name), pid, got, want)
			}
		case "pipe", "anon_inode":
		default:
			checkFile(t, pid, name, target)
		}
	}
	if sockets == 0 {
		t.Errorf("process %d has no socket: where does its output go?", pid)
	}
}

// checkFile holds a file that a process has open to be one that it sees by its name.
func checkFile(t *testing.T, pid int, name, target string) {
	t.Helper()
	if strings.HasPrefix(target, "anon_inode:") {
		return
	}
	var open, seen unix.Stat_t
	if unix.Stat(name, &open) != nil {
		return // closed meanwhile
	}
	if err := unix.Stat(fmt.Sprintf("/proc/%d/root%s", pid, target), &seen); err != nil || open.Dev != seen.Dev || open.Ino != seen.Ino {
		t.Errorf("process %d has %s open as %s, which is not what the container has there (%v)", pid, target, name, err)
	}
}

// namespaceOfSocket returns the network namespace that a socket of another process
// belongs to, as /proc/PID/ns/net shows it.
func namespaceOfSocket(t *testing.T, pid int, fd string) string {
	t.Helper()
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	var number int
	if _, err := fmt.Sscan(fd, &number); err != nil {
		t.Fatal(err)
	}
	socket, err := unix.PidfdGetfd(pidfd, number, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(socket)
	ns, err := unix.IoctlRetInt(socket, unix.SIOCGSKNS)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ns)
	var st unix.Stat_t
	if err := unix.Fstat(ns, &st); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("net:[%d]", st.Ino)
}

// TestHardeningUserOfHaproxy: a haproxy whose configuration asks for another user stays
// who it is, so its Lua does not read that user's files.
func TestHardeningUserOfHaproxy(t *testing.T) {
	begin(t)
	agent, r := withL3(t), newRouter(t)
	dir := place(t, "ns-metadata-proxy")
	pid := place(t, "external/pids") + "/" + r.id + ".pid.haproxy"
	secret, lua, configuration := dir+"/of-another-user", dir+"/read.lua", dir+"/"+r.id+".conf"
	write(t, secret, "secret")
	if err := errors.Join(os.Chmod(secret, 0o600), os.Chown(secret, 4711, 4711)); err != nil {
		t.Fatal(err)
	}
	write(t, lua, `core.register_task(function()
	local file, reason = io.open("`+secret+`")
	core.Alert("it reads " .. (file and file:read() or reason))
end)`)
	for _, asked := range []string{"uid 4711\n    gid 4711", "user root\n    group root", "uid 0\n    gid 0"} {
		t.Run(asked, func(t *testing.T) {
			write(t, configuration, "global\n    "+asked+"\n    pidfile "+pid+"\n    lua-load "+lua+"\n    log stderr local0\n\nlisten listener\n    mode http\n    bind 127.0.0.1:8080\n    timeout client 1s\n")
			k := kind{agent: agent, profile: "haproxy", namespace: r.namespace, arguments: []string{"-f", configuration}}
			since := now()
			s, err := as(t, agent).Launch(minute(t), k.parameters())
			if err != nil {
				t.Fatal(err)
			}
			stopAtEnd(t, agent, s.ID)
			if got, want := usersOf(t, int(*s.Runtime.ProcessID)), fmt.Sprintf("%[1]d:%[1]d %[1]d", neutronUser); got != want {
				t.Errorf("it runs as %s, want %s", got, want)
			}
			eventually(t, 10*time.Second, "it says what it reads", func() bool {
				for _, e := range entriesSince(t, since, "_SYSTEMD_UNIT="+s.Runtime.Unit) {
					if text, _ := e["MESSAGE"].(string); strings.Contains(text, "it reads ") {
						if !strings.Contains(text, "Permission denied") {
							t.Error(text)
						}
						return true
					}
				}
				return false
			})
			if _, err := as(t, agent).Stop(minute(t), interfaces.StopParameters{ID: s.ID}); err != nil {
				t.Fatal(err)
			}
		})
	}
}
