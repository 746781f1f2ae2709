package main

import (
	"testing"

	godbus "github.com/godbus/dbus/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/bus/bustest"
	"tripleo.io/sidecar/internal/dict"
)

// serveBus starts a bus with a service on it and sets $BUS to its address.
func serveBus(t *testing.T, ts *testscript.TestScript) {
	ts.Setenv("BUS", bustest.New(t, answerOnBus).Address)
}

// answerOnBus knows one sidecar, and asks nobody to authenticate.
func answerOnBus(c *bustest.Call) {
	sidecar := interfaces.Sidecar{
		ID:      "neutron-dhcp.dnsmasq.0123456789ab",
		Context: &interfaces.Context{Profile: "dnsmasq", Agent: "neutron-dhcp", Arguments: []string{}, NetworkNamespace: new("qdhcp-1")},
		Runtime: interfaces.Runtime{State: interfaces.StateReady, Unit: "u", Image: "i", ProcessID: new(int64(4242))},
	}
	type object struct {
		Path       godbus.ObjectPath
		Properties map[string]godbus.Variant
	}
	const path = godbus.ObjectPath("/io/tripleo/Sidecar1/sidecar/x")
	switch c.Member {
	case "GetNameOwner":
		c.Reply(bustest.Service)
	case "GetConnectionUnixUser":
		c.Reply(uint32(0))
	case "AddMatch", "Signal":
		c.Reply()
	case "List":
		c.Reply([]object{{path, dict.Encode(sidecar)}})
	case "Launch":
		c.Reply(path, dict.Encode(sidecar), map[string]godbus.Variant{})
	case "Stop":
		id, _ := c.Body[0].(string)
		c.Fail("io.tripleo.Sidecar1.Error.NoSuchSidecar", "no", dict.Encode(interfaces.NoSuchSidecarError{ID: &id}))
	case "ListProfiles":
		c.Fail("org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", "interactive authentication required")
	case "Explain":
		c.Fail("org.freedesktop.DBus.Error.ServiceUnknown", "it has left")
	default:
		c.Reply(map[string]godbus.Variant{"Version": godbus.MakeVariant("1.2.3")})
	}
}
