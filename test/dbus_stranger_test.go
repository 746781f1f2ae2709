//go:build testhost

package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/interfaces"
)

// strangerVariable makes this program do something on the bus and end, for tests in
// which somebody without rights does it.
const strangerVariable = "SIDECAR_TEST_STRANGER"

// nobody is a user without rights.
const nobody = 65534

// mischief is what the stranger is told to do.
type mischief struct {
	Connections, Calls int      // so many Introspect calls at once on each of so many connections
	Objects            []string // of these objects
	Targets            []string // send forged signals straight to these connections
	Units              []string // that are about these units
	Deep               int      // on so many connections, 8 calls each that are costly to decode
	Odd                bool     // messages that no client sends, and calls of the objects
	Churn              int      // connect, call and leave so many times
	Hoard              int      // for so many seconds, make calls on 4 connections and do not read the answers
}

// outcome is what came of it.
type outcome struct {
	Answers  map[string]int // calls, by the name of the error; "" for those that were answered
	Forged   int            // signals sent
	Affected int            // of those that arrived at a connection of its own without a guard
}

// strangerMain is the main function of such a process.
func strangerMain(text string) int {
	var m mischief
	err := json.Unmarshal([]byte(text), &m)
	var o outcome
	if err == nil && m.Connections > 0 {
		o.Answers, err = flood(m)
	}
	if err == nil && len(m.Targets) > 0 {
		o.Forged, o.Affected, err = forge(m)
	}
	if err == nil && m.Deep > 0 {
		o.Answers, err = sendDeep(m.Deep, 8)
	}
	if err == nil && m.Odd {
		o.Answers, err = beOdd(m.Objects)
	}
	if err == nil && m.Churn > 0 {
		err = churn(m.Churn)
	}
	if err == nil && m.Hoard > 0 {
		o.Forged, err = hoard(4, time.Duration(m.Hoard)*time.Second)
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// makeMischief has somebody without rights do something.
func makeMischief(t *testing.T, m mischief) outcome {
	t.Helper()
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(minute(t), "/proc/self/exe")
	cmd.Env = []string{strangerVariable + "=" + string(text)}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	var o outcome
	if err == nil {
		err = json.Unmarshal(out, &o)
	}
	if err != nil {
		t.Fatalf("the stranger: %v, %s", err, out)
	}
	return o
}

// flood has all calls under way before it waits for the first answer.
func flood(m mischief) (map[string]int, error) {
	answers := make(chan *dbus.Call, m.Connections*m.Calls)
	for range m.Connections {
		conn, err := dbus.ConnectSystemBus()
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		for i := range m.Calls {
			object := conn.Object(interfaces.BusName, dbus.ObjectPath(m.Objects[i%len(m.Objects)]))
			object.Go("org.freedesktop.DBus.Introspectable.Introspect", 0, answers)
		}
	}
	counts := map[string]int{}
	for range m.Connections * m.Calls {
		call := <-answers
		var failure dbus.Error
		name := ""
		if errors.As(call.Err, &failure) {
			name = failure.Name
		} else if call.Err != nil {
			name = call.Err.Error()
		}
		counts[name]++
	}
	return counts, nil
}

// forge sends what looks like the bus's, systemd's and the service's own signals, to
// everybody, straight to the targets, and to a connection of its own, with bodies
// that fit and that do not.
func forge(m mischief) (sent, arrived int, err error) {
	conn, err := dbus.ConnectSystemBus()
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close()
	witness, err := dbus.ConnectSystemBus()
	if err != nil {
		return 0, 0, err
	}
	defer witness.Close()
	signals := make(chan *dbus.Signal, 100000)
	witness.Signal(signals)
	for _, to := range append([]string{"", witness.Names()[0]}, m.Targets...) {
		for _, unit := range m.Units {
			for _, body := range oddBodies(unit, conn.Names()[0]) {
				for _, message := range forgeries(unit, to, body) {
					if conn.Send(message, nil).Err == nil {
						sent++
					}
				}
			}
		}
	}
	for _, to := range m.Targets { // and nobody else shall have to read these
		for range 5 {
			conn.Send(forgeries(m.Units[0], to, []any{make([]byte, 4<<20)})[0], nil)
		}
	}
	for _, c := range []*dbus.Conn{conn, witness} { // the bus answers in order, so that all is through then
		err = errors.Join(err, c.BusObject().Call("org.freedesktop.DBus.GetId", 0).Err)
	}
	return sent, len(signals), err
}

// oddBodies are bodies of signals; some are what the signals really have.
func oddBodies(unit, sender string) [][]any {
	deep := any("deep")
	for range 60 {
		deep = dbus.MakeVariant(deep)
	}
	return [][]any{
		{uint32(7), dbus.ObjectPath("/org/freedesktop/systemd1/job/7"), unit, "done"},
		{uint32(7), dbus.ObjectPath("/org/freedesktop/systemd1/job/7"), unit, "failed"},
		{"org.freedesktop.systemd1.Unit", map[string]dbus.Variant{"ActiveState": dbus.MakeVariant("failed")}, []string{}},
		{interfaces.SidecarInterface, map[string]dbus.Variant{"State": dbus.MakeVariant("failed")}, []string{"ProcessId"}},
		{interfaces.BusName, ":1.0", sender},
		{interfaces.BusName},
		{"org.freedesktop.systemd1", ":1.0", ""},
		{"org.freedesktop.PolicyKit1", ":1.0", ""},
		{},
		{"", "", "", ""},
		{[]uint32{1, 2}, map[string]string{"a": "b"}},
		{deep},
		{true},
	}
}

func forgeries(unit, to string, body []any) []*dbus.Message {
	var messages []*dbus.Message
	for _, s := range []struct {
		path          dbus.ObjectPath
		iface, member string
	}{
		{"/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "JobRemoved"},
		{"/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "UnitRemoved"},
		{"/org/freedesktop/systemd1/unit/" + dbus.ObjectPath(escaped(unit)), "org.freedesktop.DBus.Properties", "PropertiesChanged"},
		{"/org/freedesktop/DBus", "org.freedesktop.DBus", "NameOwnerChanged"},
		{"/org/freedesktop/DBus", "org.freedesktop.DBus", "NameLost"},
		{"/org/freedesktop/DBus", "org.freedesktop.DBus", "NameAcquired"},
		{"/org/freedesktop/PolicyKit1/Authority", "org.freedesktop.PolicyKit1.Authority", "Changed"},
		{interfaces.ManagerPath, interfaces.ManagerInterface, "Stopped"},
	} {
		m := &dbus.Message{Type: dbus.TypeSignal, Body: body, Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldPath:      dbus.MakeVariant(s.path),
			dbus.FieldInterface: dbus.MakeVariant(s.iface),
			dbus.FieldMember:    dbus.MakeVariant(s.member),
		}}
		if to != "" {
			m.Headers[dbus.FieldDestination] = dbus.MakeVariant(to)
		}
		if len(body) > 0 {
			m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(body...))
		}
		messages = append(messages, m)
	}
	return messages
}

// escaped is a unit's name in an object path.
func escaped(unit string) string {
	var label string
	for _, c := range []byte(unit) {
		if c == '.' || c == '-' {
			label += fmt.Sprintf("_%02x", c)
		} else {
			label += string(c)
		}
	}
	return label
}
