package varlink

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service"
)

// BenchmarkVarlinkCall measures the transport's own share of a call: a launch
// with Neutron's usual number of arguments, answered at once.
func BenchmarkVarlinkCall(b *testing.B) {
	server := launchServer(b)
	path := b.TempDir() + "/s"
	l, err := Bind(path, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = server.Serve(context.Background(), l, "agent") }()
	c := dial(b, path)
	call := append(launchOf(b, 40), 0)
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

// BenchmarkVarlinkParse measures what it takes to read a launch out of a frame: the two
// parses of this package (the call, its parameters), and the one that varlink/go's
// HandleMessage would add. ARCHITECTURE.md ("Libraries") has the decision.
func BenchmarkVarlinkParse(b *testing.B) {
	server := launchServer(b)
	for _, arguments := range []int{10, 40, 3000} {
		frame := launchOf(b, arguments)
		for name, parse := range map[string]func() error{
			"ours": func() error {
				call, err := parseEnvelope(frame)
				if err != nil {
					return err
				}
				return decodeParameters(*call.Parameters, &interfaces.LaunchParameters{})
			},
			"library": func() error {
				if err := server.service.HandleMessage(b.Context(), libraryConn{}, frame); err != errOurs {
					return fmt.Errorf("not dispatched: %w", err)
				}
				return nil
			},
		} {
			b.Run(fmt.Sprintf("%s/%d", name, arguments), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(frame)))
				for b.Loop() {
					if err := parse(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// launchServer answers a launch at once.
func launchServer(b *testing.B) *Server {
	b.Helper()
	handler := Single(func(context.Context, service.Caller, interfaces.LaunchParameters) (interfaces.LaunchReply, error) {
		return interfaces.LaunchReply{}, nil
	})
	server, err := NewServer(Config{Interface: Interface{
		interfaces.Name, interfaces.Description, map[string]Handler{"Launch": handler},
	}})
	if err != nil {
		b.Fatal(err)
	}
	return server
}

// launchOf is the frame of a launch with so many arguments, without its NUL.
func launchOf(b *testing.B, n int) []byte {
	b.Helper()
	arguments := make([]string, n)
	for i := range arguments {
		arguments[i] = "--dhcp-range=set:subnet-0a1b2c3d,10.0.0.0,static,255.255.255.0,86400s"
	}
	parameters, err := json.Marshal(interfaces.LaunchParameters{Profile: "dnsmasq", Arguments: arguments}, form)
	if err != nil {
		b.Fatal(err)
	}
	return []byte(`{"method":"io.tripleo.Sidecar.Launch","parameters":` + string(parameters) + "}")
}
