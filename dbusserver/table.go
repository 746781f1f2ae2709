package dbusserver

import (
	"context"
	"reflect"
	"strings"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/dict"
)

// object is a kind of object: those with the same interfaces.
type object struct {
	interfaces []iface
}

// iface is an interface of an object.
type iface struct {
	name       string
	methods    []method
	signals    []signal
	properties []property
}

// method is a method of an interface, with its implementation.
type method struct {
	name    string
	in, out []argument
	timeout time.Duration // 0: callTimeout
	handle  func(ctx context.Context, c *call) ([]any, error)
}

type signal struct {
	name string
	args []argument
}

// property is a property of an interface; none can be written.
type property struct {
	name, signature string
	emits           emission
}

// emission is what PropertiesChanged has of a property: the annotation EmitsChangedSignal
// in the D-Bus specification.
type emission string

const (
	emitsConst       emission = "const"       // nothing: the value never changes
	emitsValue       emission = "true"        // the new value
	emitsInvalidates emission = "invalidates" // the name, without the new value
	emitsNothing     emission = "false"       // nothing, although the value changes
)

type argument struct{ name, signature string }

// args reads "name:signature name:signature".
func args(text string) []argument {
	var all []argument
	for field := range strings.FieldsSeq(text) {
		name, signature, _ := strings.Cut(field, ":")
		all = append(all, argument{name, signature})
	}
	return all
}

// signatureOf is the signature of a message with these arguments.
func signatureOf(all []argument) string {
	var b strings.Builder
	for _, a := range all {
		b.WriteString(a.signature)
	}
	return b.String()
}

// Names of the standard interfaces, from the D-Bus specification.
const (
	peerInterface       = "org.freedesktop.DBus.Peer"
	introspectInterface = "org.freedesktop.DBus.Introspectable"
	propertiesInterface = "org.freedesktop.DBus.Properties"
	managerInterface    = "org.freedesktop.DBus.ObjectManager"
)

// Names of our signals.
const (
	signalStarted = "Started"
	signalReady   = "Ready"
	signalChanged = "Changed"
	signalStopped = "Stopped"
	signalFailed  = "Failed"

	signalRestarting = "Restarting"
)

// tables are the kinds of objects.
type tables struct{ branch, manager, sidecar object }

// branch is an object that only has children.
func (s *Server) branch() object {
	return object{[]iface{s.peer(), s.introspectable()}}
}

// manager is the object with the methods of the varlink interface.
func (s *Server) manager() object {
	about := args("id:s sidecar:o state:s")
	return object{[]iface{
		{
			name: interfaces.ManagerInterface,
			methods: []method{
				{name: "Launch", in: args("profile:s arguments:as options:a{sv}"), out: args("sidecar:o properties:a{sv} stand_in:a{sv}"), timeout: launchTimeout, handle: s.launch},
				{name: "Explain", in: args("profile:s arguments:as options:a{sv}"), out: args("explanation:a{sv}"), handle: s.explain},
				{name: "List", in: args("selectors:a{sv}"), out: args("sidecars:a(oa{sv})"), handle: s.list},
				{name: "Stop", in: args("id:s options:a{sv}"), out: args("exit:a{sv}"), handle: s.stop},
				{name: "Signal", in: args("id:s signal:s"), handle: s.signal},
				{name: "ListProfiles", in: args("selectors:a{sv}"), out: args("profiles:aa{sv}"), handle: s.listProfiles},
				{name: "ReadLog", in: args("selectors:a{sv}"), out: args("entries:aa{sv}"), handle: s.readLog},
			},
			signals: []signal{
				{signalStarted, about}, {signalReady, about}, {signalChanged, about}, {signalStopped, about}, {signalFailed, about}, {signalRestarting, about},
			},
			properties: []property{{keyVersion, "s", emitsConst}},
		},
		{
			name: managerInterface,
			methods: []method{
				{name: "GetManagedObjects", out: args("objects:a{oa{sa{sv}}}"), handle: s.managedObjects},
			},
			signals: []signal{
				{"InterfacesAdded", args("object:o interfaces:a{sa{sv}}")},
				{"InterfacesRemoved", args("object:o interfaces:as")},
			},
		},
		s.properties(), s.peer(), s.introspectable(),
	}}
}

// sidecar is the object of a sidecar.
func (s *Server) sidecar() object {
	return object{[]iface{
		{
			name: interfaces.SidecarInterface,
			methods: []method{
				{name: "Stop", in: args("options:a{sv}"), out: args("exit:a{sv}"), handle: s.stop},
				{name: "Signal", in: args("signal:s"), handle: s.signal},
			},
			properties: sidecarProperties(),
		},
		s.properties(), s.peer(), s.introspectable(),
	}}
}

// sidecarProperties are the fields of a sidecar in the contract.
func sidecarProperties() []property {
	var all []property
	for _, f := range dict.Fields(reflect.TypeFor[interfaces.Sidecar]()) {
		p := property{f.Key, f.Signature, emitsInvalidates}
		switch f.Key {
		case keyID:
			p.emits = emitsConst
		case keyState:
			p.emits = emitsValue
		case "CpuUSec", "MemoryBytes", "Tasks":
			p.emits = emitsNothing
		}
		all = append(all, p)
	}
	return all
}

// The properties that signals carry.
const (
	keyID    = "Id"
	keyState = "State"
)

// keyVersion is the manager's only property, the service's version, which varlink has in
// org.varlink.service.GetInfo.
const keyVersion = "Version"

func (s *Server) properties() iface {
	return iface{
		name: propertiesInterface,
		methods: []method{
			{name: "Get", in: args("interface:s property:s"), out: args("value:v"), handle: s.getProperty},
			{name: "GetAll", in: args("interface:s"), out: args("properties:a{sv}"), handle: s.getProperties},
			{name: "Set", in: args("interface:s property:s value:v"), handle: s.setProperty},
		},
		signals: []signal{
			{"PropertiesChanged", args("interface:s changed:a{sv} invalidated:as")},
		},
	}
}

func (s *Server) peer() iface {
	return iface{name: peerInterface, methods: []method{
		{name: "Ping", handle: ping},
		{name: "GetMachineId", out: args("machine_id:s"), handle: machineID},
	}}
}

func (s *Server) introspectable() iface {
	return iface{name: introspectInterface, methods: []method{
		{name: "Introspect", out: args("xml:s"), handle: s.introspect},
	}}
}
