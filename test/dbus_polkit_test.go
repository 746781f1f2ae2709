//go:build testhost

package test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/interfaces"
)

// How a call on the bus can end; calls on the host's socket end in the same ways.
const (
	busDenied       = "org.freedesktop.DBus.Error.AccessDenied"
	busAuthenticate = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"
)

// TestDBusPolkitUsers has every method called by every kind of user. No kernel and no
// polkit is too old for that.
func TestDBusPolkitUsers(t *testing.T) {
	begin(t)
	namespace(t, "t-polkit")
	rules(t, map[string]string{
		"10-test.rules":      byName,
		"50-operators.rules": exampleRule(t, "50-sidecar-operators.rules"),
	})
	for uid, c := range map[uint32]struct{ launch, others string }{
		0:        {fine, fine},
		allowed:  {fine, fine},
		denied:   {busDenied, busDenied},
		operator: {busAuthenticate, fine},
		stranger: {busAuthenticate, busAuthenticate},
	} {
		u := newUser(t, uid)
		p := probe(t, "t-polkit")
		s := start(t, tester, p)
		for _, call := range everyTwin(p, s.ID) {
			want := c.others
			if call.Member == "Launch" {
				want = c.launch
			}
			if got := u.busCall(t, call); got.Error != want {
				t.Errorf("user %d, %s.%s: %v, want %q", uid, call.Interface, call.Member, got, want)
			}
		}
		_, err := as(t, tester).Get(minute(t), s.ID)
		if stopped := err != nil; stopped != (c.others == fine) {
			t.Errorf("user %d: afterwards %v", uid, err)
		}
	}
}

// TestDBusPolkitUserWithoutAName has a user without an entry in passwd call, as kolla's
// neutron is one. dbus-daemon hangs up on such a user, whose groups it cannot know; the
// host's socket serves it.
func TestDBusPolkitUserWithoutAName(t *testing.T) {
	begin(t)
	got := newUser(t, noPasswd).busCall(t, ofManager("List"))
	if !strings.HasPrefix(got.Error, "failed: ") && got.Error != busAuthenticate {
		t.Errorf("got in: %v", got)
	}
	t.Log(got.Error)
}

// TestDBusPolkitRulesSeeTheDetails has the example rule of a service user hold on the
// bus as it does on the host's socket.
func TestDBusPolkitRulesSeeTheDetails(t *testing.T) {
	begin(t)
	n := bareNetwork(t)
	namespace(t, "t-healer")
	rules(t, map[string]string{"50-named.rules": exampleRule(t, "50-sidecar-restart-dhcp.rules")})
	other := start(t, tester, probe(t, "t-healer"))
	id := interfaces.NewID(neutron, "dnsmasq", n.file("pid"))
	stopAtEnd(t, neutron, id.String())
	mine := n.parameters()
	mine.Agent = new(neutron)
	u := newUser(t, healer)
	for what, c := range map[string]struct {
		call busCall
		want string
	}{
		"another one":        {ofManager("Stop", other.ID), busDenied},
		"one that is not":    {ofManager("Stop", "neutron-dhcp.dnsmasq.0123456789ab"), busDenied},
		"see all":            {ofManager("List"), busDenied},
		"another agent":      {launching("Launch", with(mine, func(p *interfaces.LaunchParameters) { p.Agent = new(tester) })), busDenied},
		"another profile":    {launching("Launch", with(mine, func(p *interfaces.LaunchParameters) { p.Profile = "haproxy" })), busDenied},
		"another namespace":  {launching("Launch", with(mine, func(p *interfaces.LaunchParameters) { p.NetworkNamespace = new("t-healer") })), busDenied},
		"no namespace":       {launching("Launch", with(mine, func(p *interfaces.LaunchParameters) { p.NetworkNamespace = nil })), busDenied},
		"beyond the profile": {launching("Launch", with(mine, func(p *interfaces.LaunchParameters) { p.Arguments = []string{"--dhcp-script=/bin/sh"} })), "io.tripleo.Sidecar1.Error.ArgumentNotAllowed"},
		"its own":            {launching("Explain", mine), fine},
	} {
		if got := u.busCall(t, c.call); got.Error != c.want {
			t.Errorf("%s: %v, want %q", what, got, c.want)
		}
	}
	for _, call := range []busCall{launching("Launch", mine), ofManager("Signal", id.String(), "SIGHUP"), ofManager("Stop", id.String())} {
		if got := u.busCall(t, call); got.Error != fine {
			t.Errorf("%s: %v", call.Member, got)
		}
	}
	gone(t, neutron, id.String())
}

// TestDBusPolkitAsksAPerson has a stranger launch with somebody at the terminal:
// asked only if the message's flag allows it.
func TestDBusPolkitAsksAPerson(t *testing.T) {
	begin(t)
	namespace(t, "t-person")
	u := newUser(t, stranger)
	someone := newPerson(t, u)
	p := probe(t, "t-person")
	p.Agent = new(tester)
	id := interfaces.NewID(tester, "probe", pidFileOf(p.Arguments))
	stopAtEnd(t, tester, id.String())
	call := launching("Launch", p)
	if got := u.busCall(t, call); got.Error != busAuthenticate {
		t.Errorf("not allowed to ask: %v", got)
	}
	call.Interactive = true
	someone.agree <- false
	if got := u.busCall(t, call); got.Error != busDenied {
		t.Errorf("the person says no: %v", got)
	}
	question := within(t, "the question", someone.asked)
	if question.Action != "io.tripleo.sidecar.launch" {
		t.Errorf("the person was asked %+v", question)
	}
	someone.agree <- true
	if got := u.busCall(t, call); got.Error != fine {
		t.Errorf("the person says yes: %v", got)
	}
	checkRunning(t, get(t, tester, id.String()), p)
}

// TestDBusPolkitCallerThatLeaves has a caller leave the bus while the person thinks.
func TestDBusPolkitCallerThatLeaves(t *testing.T) {
	begin(t)
	namespace(t, "t-leaves")
	u := newUser(t, stranger)
	someone := newPerson(t, u)
	p := probe(t, "t-leaves")
	p.Agent = new(tester)
	call := launching("Launch", p)
	call.Interactive = true
	u.tell(t, told{Bus: &call, HangUp: 6 * time.Second})
	question := within(t, "the question", someone.asked)
	u.answer(t)
	if cookie := within(t, "that it is taken away", someone.cancelled); cookie != question.Cookie {
		t.Errorf("dialogue %s was taken away, not %s", cookie, question.Cookie)
	}
	someone.agree <- true // too late
	time.Sleep(time.Second)
	if units, err := sidecarUnits(); err != nil || len(units) != 0 {
		t.Errorf("started %v, %v", units, err)
	}
}

// TestDBusPolkitConnectionOfAProcessThatHasGone has a stranger connect to the bus, hand
// the connection over, and end. Somebody who may do everything then has the number of
// the process; the connection is the stranger's still.
func TestDBusPolkitConnectionOfAProcessThatHasGone(t *testing.T) {
	begin(t)
	namespace(t, "t-gone")
	rules(t, map[string]string{"10-test.rules": byName})
	s := start(t, tester, probe(t, "t-gone"))
	p := shaped(t, "probe", "")
	p.Agent, p.NetworkNamespace = new(onHost), nil // where the process is that has the number
	for _, reuse := range []bool{false, true} {
		w := handOver(t, newUser(t, stranger), told{OnBus: true}, reuse)
		conn, err := dbus.NewConn(w.conn)
		if err == nil {
			err = errors.Join(conn.Auth([]dbus.Auth{dbus.AuthExternal(fmt.Sprint(stranger))}), conn.Hello())
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, call := range []busCall{
			ofManager("List"), launching("Explain", p), launching("Launch", p),
			ofManager("Signal", s.ID, "SIGKILL"), ofManager("Stop", s.ID),
		} {
			got, err := call.on(conn, 0)
			if err != nil || got.Error != busDenied && got.Error != busAuthenticate {
				t.Errorf("%s, number in use again %v: %v, %v; want a refusal", call.Member, reuse, got, err)
			}
		}
	}
	checkRunning(t, get(t, tester, s.ID), interfaces.LaunchParameters{Arguments: s.Context.Arguments})
	if units, err := sidecarUnits(); err != nil || len(units) != 1 {
		t.Errorf("there is %v, %v", units, err)
	}
}

// TestDBusPolkitCanBeKeptOut has the file of docs/dbus.md close the interface to all
// but root, whatever polkit says.
func TestDBusPolkitCanBeKeptOut(t *testing.T) {
	begin(t)
	rules(t, map[string]string{"10-test.rules": byName})
	const file = "/etc/dbus-1/system.d/sidecar.conf"
	t.Cleanup(func() {
		run(t, "rm", "-f", file)
		run(t, "systemctl", "reload", "dbus.service")
	})
	u, root := newUser(t, allowed), newUser(t, 0)
	call := ofManager("ListProfiles")
	if got := u.busCall(t, call); got.Error != fine {
		t.Errorf("before: %v", got)
	}
	write(t, file, `<busconfig>
  <policy context="default"><deny send_destination="io.tripleo.Sidecar1"/></policy>
  <policy user="root"><allow send_destination="io.tripleo.Sidecar1"/></policy>
</busconfig>
`)
	run(t, "systemctl", "reload", "dbus.service")
	since := now()
	if got := u.busCall(t, call); got.Error != busDenied {
		t.Errorf("kept out: %v", got)
	}
	if n := len(entriesSince(t, since, decisionID)); n != 0 {
		t.Errorf("%d calls came through", n)
	}
	if got := root.busCall(t, call); got.Error != fine {
		t.Errorf("root: %v", got)
	}
}
