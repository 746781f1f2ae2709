//go:build testhost

package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/interfaces"
)

// busCall is a call on the bus, by a process of another user.
type busCall struct {
	Path, Interface, Member string
	Strings                 []string                     // its first arguments, if they are strings
	Launch                  *interfaces.LaunchParameters // or the parameters of Launch and Explain
	Options                 bool                         // options follow
	Selectors               map[string]string            // that these are
	Interactive             bool                         // the caller can wait for a person
}

// ofManager is a call of the manager.
func ofManager(member string, arguments ...string) busCall {
	return busCall{
		Path: interfaces.ManagerPath, Interface: interfaces.ManagerInterface, Member: member,
		Strings: arguments, Options: member != "Signal",
	}
}

// launching is a call of Launch or of Explain.
func launching(member string, p interfaces.LaunchParameters) busCall {
	c := ofManager(member)
	c.Launch = &p
	return c
}

// everyTwin returns a call of each method that is about the sidecar or one like it.
// Stop comes last.
func everyTwin(p interfaces.LaunchParameters, id string) []busCall {
	p.Agent = new(tester)
	parsed, _ := interfaces.ParseID(id)
	own := func(iface, member string, arguments ...string) busCall {
		return busCall{Path: parsed.Path(), Interface: iface, Member: member, Strings: arguments}
	}
	return []busCall{
		launching("Launch", p),
		launching("Explain", p),
		ofManager("List"),
		ofManager("ListProfiles"),
		{Path: interfaces.ManagerPath, Interface: "org.freedesktop.DBus.ObjectManager", Member: "GetManagedObjects"},
		own("org.freedesktop.DBus.Properties", "Get", interfaces.SidecarInterface, "Unit"),
		own("org.freedesktop.DBus.Properties", "GetAll", interfaces.SidecarInterface),
		ofManager("Signal", id, "SIGWINCH"),
		own(interfaces.SidecarInterface, "Signal", "SIGWINCH"),
		ofManager("Stop", id),
	}
}

func (c busCall) body() []any {
	var body []any
	for _, s := range c.Strings {
		body = append(body, s)
	}
	options := map[string]dbus.Variant{}
	for name, value := range c.Selectors {
		options[name] = dbus.MakeVariant(value)
	}
	if c.Launch != nil {
		body = append(body, c.Launch.Profile, c.Launch.Arguments)
		for name, value := range map[string]*string{"agent": c.Launch.Agent, "network-namespace": c.Launch.NetworkNamespace} {
			if value != nil {
				options[name] = dbus.MakeVariant(*value)
			}
		}
	}
	if c.Options {
		body = append(body, options)
	}
	return body
}

// carryOut calls, and hangs up after a while instead of waiting for the answer if it
// shall. The answer has the name of the error, or the first string of its body.
func (c busCall) carryOut(hangUp time.Duration) (f frame, err error) {
	conn, err := dbus.ConnectSystemBus()
	if err != nil {
		return f, err
	}
	defer conn.Close()
	return c.on(conn, hangUp)
}

// on is carryOut on a connection.
func (c busCall) on(conn *dbus.Conn, hangUp time.Duration) (f frame, err error) {
	m := &dbus.Message{Type: dbus.TypeMethodCall, Body: c.body(), Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldDestination: dbus.MakeVariant(interfaces.BusName),
		dbus.FieldPath:        dbus.MakeVariant(dbus.ObjectPath(c.Path)),
		dbus.FieldInterface:   dbus.MakeVariant(c.Interface),
		dbus.FieldMember:      dbus.MakeVariant(c.Member),
	}}
	if len(m.Body) > 0 {
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(m.Body...))
	}
	if c.Interactive {
		m.Flags = dbus.FlagAllowInteractiveAuthorization
	}
	call := conn.Send(m, make(chan *dbus.Call, 1))
	if hangUp != 0 {
		time.Sleep(hangUp)
		return f, nil
	}
	select {
	case call = <-call.Done:
	case <-time.After(5 * time.Minute):
		return f, errors.New("no answer")
	}
	var failure dbus.Error
	if errors.As(call.Err, &failure) {
		f.Error = failure.Name
	} else if call.Err != nil {
		return f, call.Err
	}
	f.Parameters, err = json.Marshal(fmt.Sprint(call.Body...))
	return f, err
}

// busCall has the process call on the bus.
func (u *user) busCall(t *testing.T, c busCall) frame {
	t.Helper()
	return u.do(t, told{Bus: &c})
}
