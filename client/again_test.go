package client_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
)

// launcher answers a launch with mode keep by a sidecar or an error, and notes the modes.
type launcher struct {
	started *time.Time // of the sidecar that runs
	err     error
	modes   []string
}

func (l *launcher) LaunchReply(_ context.Context, p interfaces.LaunchParameters) (*interfaces.LaunchReply, error) {
	if p.Mode == nil {
		l.modes = append(l.modes, "none")
		return &interfaces.LaunchReply{Sidecar: interfaces.Sidecar{ID: "new"}}, nil
	}
	l.modes = append(l.modes, string(*p.Mode))
	if l.err != nil {
		return nil, l.err
	}
	reply := &interfaces.LaunchReply{Sidecar: interfaces.Sidecar{ID: "kept"}, StandIn: &interfaces.StandIn{Adopted: true}}
	if l.started != nil {
		reply.Sidecar.Runtime.StartedUSec = new(l.started.UnixMicro())
	}
	return reply, nil
}

func TestLaunchAgainStartsNothingTwice(t *testing.T) {
	t.Parallel()
	since := time.Now()
	failed := errors.New("failed")
	for name, c := range map[string]struct {
		l     launcher
		id    string
		err   error
		modes []string
	}{
		"started by the first call": {launcher{started: new(since.Add(time.Second))}, "kept", nil, []string{"keep"}},
		"started at the time":       {launcher{started: &since}, "kept", nil, []string{"keep"}},
		"started before":            {launcher{started: new(since.Add(-time.Second))}, "new", nil, []string{"keep", "none"}},
		"start not known":           {launcher{}, "new", nil, []string{"keep", "none"}},
		"another launch runs":       {launcher{err: &interfaces.SidecarExistsError{ID: "x"}}, "new", nil, []string{"keep", "none"}},
		"failed":                    {launcher{err: failed}, "", failed, []string{"keep"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reply, err := client.LaunchAgain(t.Context(), &c.l, interfaces.LaunchParameters{Profile: "p"}, since)
			if !errors.Is(err, c.err) || (err == nil) != (reply != nil) {
				t.Fatalf("%+v, %v; want %v", reply, err, c.err)
			}
			if diff := cmp.Diff(c.modes, c.l.modes); diff != "" {
				t.Errorf("modes (-want +got):\n%s", diff)
			}
			if reply != nil && (reply.Sidecar.ID != c.id || reply.StandIn != nil && reply.StandIn.Adopted) {
				t.Errorf("answer %+v", reply)
			}
		})
	}
}
