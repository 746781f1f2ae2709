//go:build testhost

package test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// userVariable makes this program call the host's socket as it is told, for tests
// in which the caller must be another user.
const userVariable = "SIDECAR_TEST_USER"

// Users of the tests. noPasswd has no entry in passwd, as kolla's neutron has none.
const (
	operator uint32 = 4201
	stranger uint32 = 4202
	allowed  uint32 = 4203
	denied   uint32 = 4204
	healer   uint32 = 4205
	noPasswd uint32 = 42435
)

var userNames = map[uint32]string{
	operator: "t-operator", stranger: "t-stranger", allowed: "t-allowed", denied: "t-denied", healer: "dhcp-healer",
}

// user is a process of another user. It has a connection for each call.
type user struct {
	uid uint32
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Reader
}

// told is what such a process is told to do.
type told struct {
	Request request
	// HangUp is how long it waits before it hangs up; 0 is until there is an answer.
	HangUp time.Duration
	// Bus is a call on the system bus instead.
	Bus *busCall
	// Leave makes it send the connection to this socket, and end. OnBus makes that a
	// connection to the system bus.
	Leave string
	OnBus bool
}

// newUser starts a process of the user, which ends with the test.
func newUser(t *testing.T, uid uint32) *user {
	t.Helper()
	return newUserBy(t, uid)
}

// newUserBy is newUser by a command that starts another one.
func newUserBy(t *testing.T, uid uint32, command ...string) *user {
	t.Helper()
	groups := "--clear-groups"
	if _, ok := userNames[uid]; ok {
		addUsers(t)
		groups = "--init-groups"
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	id := strconv.FormatUint(uint64(uid), 10)
	argv := append(command, "setpriv", "--reuid="+id, "--regid="+id, groups, self)
	u := &user{uid: uid, cmd: exec.Command(argv[0], argv[1:]...)}
	u.cmd.Env = append(os.Environ(), userVariable+"=1")
	u.cmd.Stderr = os.Stderr
	in, err := u.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := u.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := u.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = u.cmd.Wait()
	})
	u.in, u.out = in, bufio.NewReader(out)
	return u
}

// addUsers adds the users and the group of the example rules, once for a host.
func addUsers(t *testing.T) {
	t.Helper()
	if _, err := output("getent", "group", "sidecar-operators"); err == nil {
		return
	}
	run(t, "groupadd", "sidecar-operators")
	for uid, name := range userNames {
		run(t, "useradd", "--no-create-home", "--uid", strconv.FormatUint(uint64(uid), 10), name)
	}
	run(t, "usermod", "--append", "--groups", "sidecar-operators", userNames[operator])
}

// do has the process do something, and returns its answer.
func (u *user) do(t *testing.T, what told) frame {
	t.Helper()
	u.tell(t, what)
	return u.answer(t)
}

func (u *user) tell(t *testing.T, what told) {
	t.Helper()
	if err := json.NewEncoder(u.in).Encode(what); err != nil {
		t.Fatal(err)
	}
}

func (u *user) answer(t *testing.T) frame {
	t.Helper()
	var f frame
	line, err := u.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &f)
	}
	if err != nil {
		t.Fatalf("user %d: %q: %v", u.uid, line, err)
	}
	return f
}

// call makes one call, which may be answered more than once; only the first answer
// counts.
func (u *user) call(t *testing.T, method string, parameters any) frame {
	t.Helper()
	return u.do(t, told{Request: fullRequest(method, parameters)})
}

// fullRequest is a call of a method that takes as many replies as there are.
func fullRequest(method string, parameters any) request {
	more := method == "List" || method == "ListProfiles" || method == "Monitor"
	return request{Method: interfaces.Name + "." + method, Parameters: parameters, More: more}
}

// userMain is the main function of such a process.
func userMain() int {
	in := json.NewDecoder(os.Stdin)
	for {
		var what told
		if in.Decode(&what) != nil {
			return 0
		}
		f, err := what.carryOut()
		if err != nil {
			f.Error = "failed: " + err.Error()
		}
		if json.NewEncoder(os.Stdout).Encode(f) != nil || what.Leave != "" {
			return 0
		}
	}
}

func (w told) carryOut() (f frame, err error) {
	if w.Bus != nil {
		return w.Bus.carryOut(w.HangUp)
	}
	socket := hostSocket
	if w.OnBus {
		socket = busSocket
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return f, err
	}
	defer conn.Close()
	if w.Leave != "" {
		return f, passOn(conn, w.Leave)
	}
	wire := &wire{conn, bufio.NewReader(conn)}
	if err := wire.send(w.Request); err != nil {
		return f, err
	}
	if w.HangUp != 0 {
		time.Sleep(w.HangUp)
		return f, nil
	}
	if err := conn.SetDeadline(time.Now().Add(5 * time.Minute)); err != nil {
		return f, err
	}
	return wire.receive()
}

// polkitVersion is the number of the host's polkit, 0 for those before 121.
func polkitVersion(t testing.TB) int {
	t.Helper()
	text := run(t, "busctl", "get-property", "org.freedesktop.PolicyKit1", "/org/freedesktop/PolicyKit1/Authority",
		"org.freedesktop.PolicyKit1.Authority", "BackendVersion")
	version, _ := strconv.Atoi(strings.Trim(strings.TrimPrefix(text, "s "), `"`))
	return version
}

// needsPIDFDs skips what cannot be on a host whose polkit knows no pidfds: there,
// nobody but root is let in on the host's socket, which TestPolkitHostSocket shows.
func needsPIDFDs(t *testing.T) {
	t.Helper()
	if version := polkitVersion(t); version < 124 {
		t.Skipf("polkit %d is not asked about processes", version)
	}
}

// rules puts rules of polkit into place until the test ends.
func rules(t testing.TB, texts map[string]string) {
	t.Helper()
	t.Cleanup(func() { restartPolkit(t) }) // when the files are gone
	for name, text := range texts {
		path := filepath.Join("/etc/polkit-1/rules.d", name)
		t.Cleanup(func() { _ = os.Remove(path) })
		write(t, path, text)
	}
	restartPolkit(t)
}

// restartPolkit makes polkit read its rules. It watches for new ones, but nobody
// can tell when it has read them.
func restartPolkit(t testing.TB) {
	t.Helper()
	_, _ = output("systemctl", "reset-failed", "polkit") // its start limit
	run(t, "systemctl", "restart", "polkit")
}

// exampleRule returns an example rule of the distribution, and what it is changed to.
func exampleRule(t testing.TB, name string, replace ...string) string {
	t.Helper()
	text, err := os.ReadFile("/usr/share/doc/sidecar/examples/rules.d/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer(replace...).Replace(string(text))
}

// polkitMainPID returns the process of polkitd.
func polkitMainPID(t testing.TB) int {
	t.Helper()
	pid, err := strconv.Atoi(show(t, "polkit", "MainPID"))
	if err != nil || pid == 0 {
		t.Fatalf("polkitd is process %d, %v", pid, err)
	}
	return pid
}

// reason returns the reason in an error's parameters.
func reason(f frame) string {
	var parameters struct{ Reason string }
	_ = json.Unmarshal(f.Parameters, &parameters)
	return parameters.Reason
}

func (f frame) String() string { return fmt.Sprintf("%s %s", f.Error, f.Parameters) }
