package twin

import (
	"bufio"
	"context"
	"encoding/hex"
	"io"
	"iter"
	"net"
	"strconv"
	"strings"
	"testing"

	"tripleo.io/sidecar/client"
	busclient "tripleo.io/sidecar/client/dbus"
	"tripleo.io/sidecar/interfaces"
)

// goClient is what the Go clients have in common.
type goClient interface {
	Explain(ctx context.Context, p interfaces.LaunchParameters) (*interfaces.ExplainReply, error)
	List(ctx context.Context, p interfaces.ListParameters) ([]interfaces.Sidecar, error)
	Stop(ctx context.Context, p interfaces.StopParameters) (*interfaces.StopReply, error)
	Signal(ctx context.Context, p interfaces.SignalParameters) error
	ListProfiles(ctx context.Context, agent *string) ([]interfaces.Profile, error)
	Monitor(ctx context.Context, p interfaces.MonitorParameters) iter.Seq2[interfaces.Event, error]
	ReadLog(ctx context.Context, p interfaces.ReadLogParameters) iter.Seq2[interfaces.LogEntry, error]
}

// byClient uses package client.
func byClient(t *testing.T, _ *suite, h *host, who caller) call {
	c, err := client.New(relay(t, who.uid, listen(t, h, who), pass))
	if err != nil {
		t.Fatal(err)
	}
	if who.waits {
		c = c.WithInteractiveAuthentication()
	}
	return func(ctx context.Context, r request) (any, error) {
		if p, ok := r.parameters.(interfaces.LaunchParameters); ok && r.method == "Launch" {
			return pointed(c.LaunchReply(ctx, p))
		}
		return callOf(ctx, c, r)
	}
}

// byBusClient uses package client/dbus, which has no stand-ins, and whose Monitor is
// another way of asking: it lists, and hears signals.
func byBusClient(t *testing.T, s *suite, h *host, who caller) call {
	serveBus(t, s, h)
	socket := relay(t, who.uid, strings.TrimPrefix(s.bus, "unix:path="), introduce(who.uid))
	c, err := busclient.New("unix:path=" + socket)
	if err != nil {
		t.Fatal(err)
	}
	if who.waits {
		c = c.WithInteractiveAuthentication()
	}
	return func(ctx context.Context, r request) (any, error) {
		p, launch := r.parameters.(interfaces.LaunchParameters)
		switch {
		case r.method == "Monitor", follows(r), r.method == "Launch" && p.Agent != nil && *p.Agent == "pocket":
			return nil, errNotOffered
		case launch && r.method == "Launch":
			sidecar, err := c.Launch(ctx, p)
			if err != nil {
				return nil, err
			}
			return interfaces.LaunchReply{Sidecar: *sidecar}, nil
		}
		return callOf(ctx, c, r)
	}
}

// callOf makes a call that both clients have.
func callOf(ctx context.Context, c goClient, r request) (any, error) {
	switch p := r.parameters.(type) {
	case interfaces.LaunchParameters:
		return pointed(c.Explain(ctx, p))
	case interfaces.ListParameters:
		found, err := c.List(ctx, p)
		if err == nil && len(found) == 0 {
			err = &interfaces.NoSuchSidecarError{} // which the clients take for an answer
		}
		return answered(found, err)
	case interfaces.StopParameters:
		return pointed(c.Stop(ctx, p))
	case interfaces.SignalParameters:
		return answered(interfaces.SignalReply{}, c.Signal(ctx, p))
	case interfaces.ListProfilesParameters:
		found, err := c.ListProfiles(ctx, p.Agent)
		if err == nil && len(found) == 0 {
			err = &interfaces.NoSuchProfileError{Profile: "*"} // likewise
		}
		return answered(found, err)
	case interfaces.ReadLogParameters:
		return entriesIn(c.ReadLog(ctx, p))
	case interfaces.MonitorParameters:
		return stateOf(func(take func(interfaces.Event) error) error {
			for event, err := range c.Monitor(ctx, p) {
				if err == nil {
					err = take(event)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	return nil, errNotOffered
}

func pointed[T any](answer *T, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return *answer, nil
}

// introduce passes on what a client says on a bus, but says that it is the user: see
// EXTERNAL in the D-Bus specification.
func introduce(uid uint32) func(from, to net.Conn) {
	root, user := asHex(0), asHex(uid)
	return func(from, to net.Conn) {
		in := bufio.NewReader(from)
		for line := ""; line != "BEGIN\r\n"; {
			var err error
			if line, err = in.ReadString('\n'); err != nil {
				break
			}
			if _, err := io.WriteString(to, strings.Replace(line, " "+root+"\r\n", " "+user+"\r\n", 1)); err != nil {
				break
			}
		}
		_, _ = in.WriteTo(to)
		to.Close()
		from.Close()
	}
}

func asHex(uid uint32) string {
	return hex.EncodeToString([]byte(strconv.FormatUint(uint64(uid), 10)))
}
