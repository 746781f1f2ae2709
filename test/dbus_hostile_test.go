//go:build testhost

package test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/interfaces"
)

// TestDBusIntrospectedByThousands has somebody without rights make 10,000 calls at
// once while sidecars come and go, whose objects are among those called.
func TestDBusIntrospectedByThousands(t *testing.T) {
	begin(t)
	namespace(t, "t-crowd")
	stop, done := make(chan struct{}), make(chan error, 1)
	p := probe(t, "t-crowd")
	id := interfaces.NewID(tester, "probe", pidFileOf(p.Arguments))
	lives := 0
	go func() { done <- comeAndGo(t, p, id.String(), stop, &lives) }()
	objects := []string{
		"/", interfaces.ManagerPath, strings.TrimSuffix(interfaces.SidecarPrefix, "/"), id.Path(),
		interfaces.NewID(tester, "probe", "nothing").Path(),
	}
	o := makeMischief(t, mischief{Connections: 80, Calls: 125, Objects: objects})
	close(stop)
	if err := <-done; err != nil {
		t.Errorf("while 10,000 calls are made: %v", err)
	}
	t.Logf("answers by error: %v; %d sidecars came and went; %d kB resident", o.Answers, lives, residentKB(t))
	for name := range o.Answers {
		if name != "" && name != "org.freedesktop.DBus.Error.LimitsExceeded" {
			t.Errorf("%d calls got %s", o.Answers[name], name)
		}
	}
	if o.Answers[""] == 0 || lives == 0 {
		t.Error("nothing was answered, or nothing came and went")
	}
}

// comeAndGo launches and stops a sidecar by busctl, as root, until it is told to
// stop.
func comeAndGo(t *testing.T, p interfaces.LaunchParameters, id string, stop <-chan struct{}, lives *int) error {
	for {
		if err := manager(minute(t), nil, "Launch", asBusctl(tester, p)...); err != nil {
			return fmt.Errorf("launch: %w", err)
		}
		if err := manager(minute(t), nil, "Stop", "sa{sv}", id, "0"); err != nil {
			return fmt.Errorf("stop: %w", err)
		}
		*lives++
		select {
		case <-stop:
			return nil
		default:
		}
	}
}

// TestDBusSignalsAreNotForged has somebody without rights send signals in everybody
// else's name to all connections of the daemon, while a launch waits to be ready
// and a monitor watches.
func TestDBusSignalsAreNotForged(t *testing.T) {
	begin(t)
	namespace(t, "t-forged")
	s := start(t, tester, probe(t, "t-forged"))
	m, _ := monitor(t, at(t, hostSocket), interfaces.MonitorParameters{})
	p := shaped(t, "gated", "t-forged")
	id := interfaces.NewID(tester, "gated", pidFileOf(p.Arguments))
	stopAtEnd(t, tester, id.String())
	launched := make(chan error, 1)
	go func() { launched <- manager(minute(t), nil, "Launch", asBusctl(tester, p)...) }()
	m.until(t, id.String(), interfaces.EventStarted)
	targets := connectionsOf(t, expectedDaemon)
	before := residentKB(t)
	o := makeMischief(t, mischief{Targets: targets, Units: []string{s.Runtime.Unit, id.Unit()}})
	after := residentKB(t)
	select {
	case err := <-launched:
		t.Fatalf("the launch has ended before it was ready: %v", err)
	default:
	}
	openGate(t, p)
	if err := <-launched; err != nil {
		t.Errorf("the launch: %v", err)
	}
	kinds, _ := m.until(t, id.String(), interfaces.EventReady)
	wantKinds(t, "the launch", kinds, interfaces.EventReady)
	m.quiet(t)
	checkRunning(t, get(t, tester, s.ID), interfaces.LaunchParameters{Arguments: s.Context.Arguments})
	t.Logf("%d forged signals to each of %d connections, %d arrived where nobody guards; %d kB resident before, %d after",
		o.Forged/(len(targets)+2), len(targets), o.Affected, before, after)
	if o.Affected == 0 || len(targets) < 2 || after > before+20000 {
		t.Error("nothing was forged, or it cost memory")
	}
	if now := connectionsOf(t, expectedDaemon); strings.Join(now, " ") != strings.Join(targets, " ") {
		t.Errorf("the daemon's connections were %v, and are %v", targets, now)
	}
}

// connectionsOf lists the unique names of a process on the bus.
func connectionsOf(t *testing.T, pid int) []string {
	t.Helper()
	conn, err := dbus.ConnectSystemBus()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var names, its []string
	if err := conn.BusObject().Call("org.freedesktop.DBus.ListNames", 0).Store(&names); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		var owner uint32
		err := conn.BusObject().Call("org.freedesktop.DBus.GetConnectionUnixProcessID", 0, name).Store(&owner)
		if err == nil && int(owner) == pid && strings.HasPrefix(name, ":") {
			its = append(its, name)
		}
	}
	return its
}

// residentKB is how much memory the daemon has resident.
func residentKB(t *testing.T) int { return statusKB(t, "VmRSS:") }

// statusKB is a number from the daemon's status: see proc(5).
func statusKB(t *testing.T, field string) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", expectedDaemon))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), field)
	n, _ := strconv.Atoi(strings.Fields(rest)[0])
	return n
}

// TestDBusStrangers holds what the bus itself lets through: no methods that are not
// there, no properties set, and of introspection no sidecars.
func TestDBusStrangers(t *testing.T) {
	begin(t)
	namespace(t, "t-strange")
	s := start(t, tester, probe(t, "t-strange"))
	id, _ := interfaces.ParseID(s.ID)
	as := func(argv ...string) (string, error) {
		return output(append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "busctl"}, argv...)...)
	}
	if tree, err := as("tree", "--list", interfaces.BusName); err != nil || strings.Contains(tree, id.Path()) || !strings.Contains(tree, interfaces.ManagerPath) {
		t.Errorf("a stranger sees\n%s%v", tree, err)
	}
	for name, c := range map[string]struct {
		argv []string
		want string
	}{
		"launch":        {append([]string{"--", "call", interfaces.BusName, interfaces.ManagerPath, interfaces.ManagerInterface, "Launch"}, asBusctl(tester, probe(t, "t-strange"))...), "authentication required"},
		"list":          {[]string{"call", interfaces.BusName, interfaces.ManagerPath, interfaces.ManagerInterface, "List", "a{sv}", "0"}, "authentication required"},
		"properties":    {[]string{"get-property", interfaces.BusName, id.Path(), interfaces.SidecarInterface, "State"}, "authentication required"},
		"of nothing":    {[]string{"get-property", interfaces.BusName, interfaces.NewID("a", "b", "c").Path(), interfaces.SidecarInterface, "State"}, "authentication required"},
		"objects":       {[]string{"call", interfaces.BusName, interfaces.ManagerPath, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects"}, "authentication required"},
		"stop":          {[]string{"call", interfaces.BusName, id.Path(), interfaces.SidecarInterface, "Stop", "a{sv}", "0"}, "authentication required"},
		"set":           {[]string{"set-property", interfaces.BusName, id.Path(), interfaces.SidecarInterface, "State", "s", "failed"}, "denied"},
		"other methods": {[]string{"call", interfaces.BusName, interfaces.ManagerPath, interfaces.ManagerInterface, "Monitor"}, "denied"},
	} {
		// busctl may show errno's text instead: "Access denied".
		if out, err := as(c.argv...); err == nil || !strings.Contains(err.Error(), c.want) && !strings.Contains(err.Error(), "Access denied") {
			t.Errorf("%s: %v %s, want %q", name, err, out, c.want)
		}
	}
	get(t, tester, s.ID)
}
