//go:build testhost

package test

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/interfaces"
)

const (
	authorityName = "org.freedesktop.PolicyKit1"
	authorityPath = dbus.ObjectPath("/org/freedesktop/PolicyKit1/Authority")
	authorityCall = "org.freedesktop.PolicyKit1.Authority."
	agentPath     = dbus.ObjectPath("/io/tripleo/test/agent")
)

// person stands for somebody at a terminal who is asked to authenticate for what a
// process asks for: an authentication agent, which answers as the test says. Its
// methods are the methods of org.freedesktop.PolicyKit1.AuthenticationAgent.
type person struct {
	t         *testing.T
	uid       uint32
	bus       *dbus.Conn
	asked     chan asked
	cancelled chan string   // cookies
	agree     chan bool     // what the person does
	over      chan struct{} // closed at the end of the test
}

// asked is one dialogue.
type asked struct{ Action, Message, Cookie string }

// identity is a subject or a person as polkit writes it.
type identity struct {
	Kind    string
	Details map[string]dbus.Variant
}

// newPerson sits down beside a process.
func newPerson(t *testing.T, u *user) *person {
	t.Helper()
	bus, err := dbus.ConnectSystemBus()
	if err != nil {
		t.Fatal(err)
	}
	p := &person{
		t: t, uid: u.uid, bus: bus, asked: make(chan asked, 10), cancelled: make(chan string, 10),
		agree: make(chan bool, 10), over: make(chan struct{}),
	}
	t.Cleanup(func() {
		close(p.over)
		bus.Close()
	})
	if err := bus.Export(p, agentPath, "org.freedesktop.PolicyKit1.AuthenticationAgent"); err != nil {
		t.Fatal(err)
	}
	pid := u.cmd.Process.Pid
	subject := identity{"unix-process", map[string]dbus.Variant{
		"pid": dbus.MakeVariant(uint32(pid)), "start-time": dbus.MakeVariant(startTime(t, pid)), "uid": dbus.MakeVariant(int32(u.uid)),
	}}
	if err := bus.Object(authorityName, authorityPath).Call(authorityCall+"RegisterAuthenticationAgent", 0, subject, "C", string(agentPath)).Err; err != nil {
		t.Fatal(err)
	}
	return p
}

// startTime is field 22 of /proc/PID/stat (proc_pid_stat(5)).
func startTime(t *testing.T, pid int) uint64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	started, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return started
}

// BeginAuthentication shows a dialogue, and returns when it is over.
func (p *person) BeginAuthentication(action, message, _ string, _ map[string]string, cookie string, identities []identity) *dbus.Error {
	p.asked <- asked{action, message, cookie}
	select {
	case yes := <-p.agree:
		if !yes {
			return dbus.NewError("org.freedesktop.PolicyKit1.Error.Cancelled", []any{"no"})
		}
	case <-p.over:
		return nil
	}
	// polkit believes root about who has authenticated. Before version 124 it wants to
	// hear who registered the agent. Too late is too late.
	var err error
	for _, uid := range []uint32{p.uid, 0} {
		err = p.bus.Object(authorityName, authorityPath).Call(authorityCall+"AuthenticationAgentResponse2", 0, uid, cookie, identities[0]).Err
		if err == nil {
			return nil
		}
	}
	p.t.Logf("polkit does not take the person's word: %v", err)
	return nil
}

// CancelAuthentication takes a dialogue away.
func (p *person) CancelAuthentication(cookie string) *dbus.Error {
	p.cancelled <- cookie
	return nil
}

func within[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(slowness * 5 * time.Second):
		t.Fatalf("%s: nothing came", what)
	}
	panic("not reached")
}

// TestPolkitAsksAPersonIfTheCallerAllowsIt has a stranger launch with somebody at
// the terminal.
func TestPolkitAsksAPersonIfTheCallerAllowsIt(t *testing.T) {
	needsPIDFDs(t)
	begin(t)
	namespace(t, "t-person")
	u := newUser(t, stranger)
	someone := newPerson(t, u)
	p := probe(t, "t-person")
	p.Agent = new(tester)
	if got := u.call(t, "Launch", p); got.Error != authenticate {
		t.Errorf("not allowed to ask: %v", got)
	}
	p.AllowInteractiveAuthentication = new(true)

	someone.agree <- false
	if got := u.call(t, "Launch", p); got.Error != refusedByIt {
		t.Errorf("the person says no: %v", got)
	}
	question := within(t, "the question", someone.asked)
	if question.Action != "io.tripleo.sidecar.launch" || !strings.Contains(question.Message, "launch probe for the agent tester") {
		t.Errorf("the person was asked %+v", question)
	}

	someone.agree <- true
	s := launchedBy(t, u, p)
	stopAtEnd(t, tester, s.ID)
	checkRunning(t, s, p)
	within(t, "the second question", someone.asked)

	someone.agree <- true
	if got := u.call(t, "Stop", interfaces.StopParameters{ID: s.ID, AllowInteractiveAuthentication: new(true)}); got.Error != fine {
		t.Errorf("stop: %v", got)
	}
	if question := within(t, "the third question", someone.asked); !strings.Contains(question.Message, s.ID) {
		t.Errorf("the person was asked %+v", question)
	}
}

// TestPolkitAsksAPersonForEveryMethod has a stranger call each method with somebody at
// the terminal who says no, and then yes.
func TestPolkitAsksAPersonForEveryMethod(t *testing.T) {
	begin(t)
	namespace(t, "t-person")
	for _, bus := range []bool{false, true} {
		if !bus && polkitVersion(t) < 124 {
			continue // the host's socket lets nobody in: TestPolkitHostSocket
		}
		u := newUser(t, stranger)
		someone := newPerson(t, u)
		p := probe(t, "t-person")
		s := start(t, tester, p)
		var calls []told
		for _, r := range everyMethod(p, s.ID) {
			calls = append(calls, told{Request: r.interactive()})
		}
		if bus {
			calls = nil
			for _, c := range everyTwin(p, s.ID) {
				c.Interactive = true
				calls = append(calls, told{Bus: &c})
			}
		}
		for _, what := range calls {
			for _, yes := range []bool{false, true} {
				want := map[bool]string{true: fine, false: refusedByIt}[yes]
				if !yes && bus {
					want = busDenied
				}
				someone.agree <- yes
				if got := u.do(t, what); got.Error != want {
					t.Errorf("%v, who says yes: %v: %v, want %q", what, yes, got, want)
				}
				within(t, "the question", someone.asked)
			}
		}
		gone(t, tester, s.ID)
	}
}

// interactive is the request of a caller that lets a person be asked.
func (r request) interactive() request {
	text, _ := json.Marshal(r.Parameters)
	parameters := map[string]any{}
	_ = json.Unmarshal(text, &parameters)
	parameters["allowInteractiveAuthentication"] = true
	return fullRequest(r.Method, parameters)
}

// String is a call for people.
func (w told) String() string {
	if w.Bus != nil {
		return w.Bus.Interface + "." + w.Bus.Member
	}
	return w.Request.Method
}

// TestPolkitCallerThatLeavesTakesTheQuestionAway has a caller hang up while the
// person thinks.
func TestPolkitCallerThatLeavesTakesTheQuestionAway(t *testing.T) {
	needsPIDFDs(t)
	begin(t)
	namespace(t, "t-leaves")
	u := newUser(t, stranger)
	someone := newPerson(t, u)
	p := probe(t, "t-leaves")
	p.Agent, p.AllowInteractiveAuthentication = new(tester), new(true)
	since := now()
	u.tell(t, told{Request: launchOf(p), HangUp: 6 * time.Second})
	question := within(t, "the question", someone.asked)
	u.answer(t)
	if cookie := within(t, "that it is taken away", someone.cancelled); cookie != question.Cookie {
		t.Errorf("dialogue %s was taken away, not %s", cookie, question.Cookie)
	}
	someone.agree <- true // too late
	eventually(t, 5*time.Second, "the journal has it", func() bool {
		return len(entriesSince(t, since, decisionID, "METHOD=Launch", "PEER_UID=4202", "DECISION=failed")) == 1
	})
	if units, err := sidecarUnits(); err != nil || len(units) != 0 {
		t.Errorf("started %v, %v", units, err)
	}
}
