package varlink

import (
	"context"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// BenchmarkVarlinkCall measures the transport's own share of a call: a launch
// with Neutron's usual number of arguments, answered at once.
func BenchmarkVarlinkCall(b *testing.B) {
	handler := Single(func(context.Context, Peer, interfaces.LaunchParameters) (interfaces.LaunchReply, error) {
		return interfaces.LaunchReply{}, nil
	})
	server, err := NewServer(Config{Interface: Interface{
		interfaces.Name, interfaces.Description, map[string]Handler{"Launch": handler},
	}})
	if err != nil {
		b.Fatal(err)
	}
	path := b.TempDir() + "/s"
	l, err := Bind(path, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = server.Serve(context.Background(), l, "agent") }()
	arguments := make([]string, 40)
	for i := range arguments {
		arguments[i] = "--dhcp-range=set:subnet-0a1b2c3d,10.0.0.0,static,255.255.255.0,86400s"
	}
	parameters, err := encode(interfaces.LaunchParameters{Profile: "dnsmasq", Arguments: arguments})
	if err != nil {
		b.Fatal(err)
	}
	c := dial(b, path)
	call := []byte(`{"method":"io.tripleo.Sidecar.Launch","parameters":` + string(parameters) + "}\x00")
	if err := c.SetDeadline(time.Time{}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(call); err != nil {
			b.Fatal(err)
		}
		if _, err := c.r.ReadString(0); err != nil {
			b.Fatal(err)
		}
	}
}
