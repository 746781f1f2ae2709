package twin

import (
	"context"
	"slices"
	"strings"
	"testing"

	godbus "github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/interfaces"
)

// overObjects calls the sidecars' objects, their properties and the object manager, as
// far as these say the same as a method of the contract.
func overObjects(t *testing.T, s *suite, h *host, who caller) call {
	serveBus(t, s, h)
	conn := connect(t, s, who.uid)
	h.sender = conn.Names()[0]
	return func(ctx context.Context, r request) (any, error) {
		m, ok := onObject(r)
		if !ok {
			return nil, errNotOffered
		}
		m.interactive = isInteractive(r.parameters)
		body, err := send(ctx, conn, m)
		if err != nil {
			return nil, err
		}
		switch m.member {
		case "GetAll":
			sidecar, err := decoded[interfaces.Sidecar](body[0])
			if r.parameters.(interfaces.ListParameters).Usage == nil {
				sidecar.Runtime.Usage = nil // which is a property like the others
			}
			return answered([]interfaces.Sidecar{sidecar}, err)
		case "GetManagedObjects":
			return managed(body[0])
		}
		return fromBody(r.method, body)
	}
}

// onObject writes a call as one of an object; false if there is none like it.
func onObject(r request) (message, bool) {
	switch p := r.parameters.(type) {
	case interfaces.StopParameters:
		path, ok := pathOf(p.ID)
		return message{path: path, iface: interfaces.SidecarInterface, member: "Stop", body: asBody(r)[1:]}, ok
	case interfaces.SignalParameters:
		path, ok := pathOf(p.ID)
		return message{path: path, iface: interfaces.SidecarInterface, member: "Signal", body: asBody(r)[1:]}, ok
	case interfaces.ListParameters:
		if !p.Selects() {
			if p.Usage != nil {
				return message{}, false
			}
			return message{path: interfaces.ManagerPath, iface: "org.freedesktop.DBus.ObjectManager", member: "GetManagedObjects"}, true
		}
		if p.ID == nil || p.Agent != nil || p.Profile != nil || p.NetworkNamespace != nil {
			return message{}, false
		}
		path, ok := pathOf(*p.ID)
		return message{path: path, iface: "org.freedesktop.DBus.Properties", member: "GetAll", body: []any{interfaces.SidecarInterface}}, ok
	}
	return message{}, false
}

// pathOf is the path of a sidecar's object; what is no ID has none.
func pathOf(s string) (string, bool) {
	id, err := interfaces.ParseID(s)
	return id.Path(), err == nil
}

// managed reads the answer of the object manager, in the order of List.
func managed(body any) (any, error) {
	objects, _ := body.(map[godbus.ObjectPath]map[string]options)
	if len(objects) == 0 {
		return nil, &interfaces.NoSuchSidecarError{} // which is no error there
	}
	var all []interfaces.Sidecar
	for path, its := range objects {
		sidecar, err := sidecarAt(path, its[interfaces.SidecarInterface])
		if err != nil {
			return nil, err
		}
		all = append(all, sidecar)
	}
	slices.SortFunc(all, func(a, b interfaces.Sidecar) int { return strings.Compare(a.ID, b.ID) })
	return all, nil
}
