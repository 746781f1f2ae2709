//go:build testhost

package test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/interfaces"
)

// others measures the longest that root waits on the bus and on the host's socket,
// until it is told to stop.
func others(t *testing.T, stop <-chan struct{}) (onBus, onVarlink time.Duration, failures map[string]int) {
	failures = map[string]int{}
	c := at(t, hostSocket)
	measure := func(what string, longest *time.Duration, call func(ctx context.Context) error) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		began := time.Now()
		if err := call(ctx); err != nil {
			failures[what+": "+err.Error()]++
		}
		*longest = max(*longest, time.Since(began))
	}
	for {
		measure("bus", &onBus, func(ctx context.Context) error {
			conn, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
			if err != nil {
				return err
			}
			defer conn.Close()
			return conn.Object(interfaces.BusName, interfaces.ManagerPath).
				CallWithContext(ctx, interfaces.ManagerInterface+".ListProfiles", 0, map[string]dbus.Variant{}).Err
		})
		measure("varlink", &onVarlink, func(ctx context.Context) error {
			_, err := c.List(ctx, interfaces.ListParameters{}) // which asks systemd, on the bus
			if errors.Is(err, interfaces.ErrNoSuchSidecar) {
				return nil
			}
			return err
		})
		select {
		case <-stop:
			return onBus, onVarlink, failures
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// during has somebody without rights do something, and returns what root has had to
// wait meanwhile.
func during(t *testing.T, m mischief) (o outcome, onBus, onVarlink time.Duration, failures map[string]int) {
	t.Helper()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		onBus, onVarlink, failures = others(t, stop)
	}()
	before := residentKB(t)
	o = makeMischief(t, m)
	close(stop)
	<-done
	t.Logf("%d calls, answers %v; longest wait of root: %v on the bus, %v on varlink; failures: %v; %d kB resident before, %d after, %d at most",
		o.Forged, o.Answers, onBus, onVarlink, failures, before, residentKB(t), peakKB(t))
	return o, onBus, onVarlink, failures
}

// peakKB is the most memory that the daemon has had resident since forgetPeak.
func peakKB(t *testing.T) int { return statusKB(t, "VmHWM:") }

// forgetPeak begins again: see clear_refs in proc(5).
func forgetPeak(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", expectedDaemon), []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
}

// TestDBusHostileBodies has somebody without rights send as many calls at once as may
// be, with bodies that take hundreds of times their length to decode.
func TestDBusHostileBodies(t *testing.T) {
	begin(t)
	forgetPeak(t)
	o, onBus, onVarlink, failures := during(t, mischief{Deep: 16})
	if peak := peakKB(t); peak > 120000 {
		t.Errorf("the daemon had %d kB resident", peak)
	}
	if len(o.Answers) == 0 || len(failures) != 0 || max(onBus, onVarlink) > 10*time.Second {
		t.Errorf("root waited %v on the bus, %v on varlink; %v", onBus, onVarlink, failures)
	}
}

// TestDBusHostileMessages has somebody without rights send what no client sends. The
// daemon keeps its connections, and answers what can be answered.
func TestDBusHostileMessages(t *testing.T) {
	begin(t)
	connections := connectionsOf(t, expectedDaemon)
	o, _, _, failures := during(t, mischief{Odd: true, Objects: []string{
		"/", "/x", "/io/tripleo", interfaces.SidecarPrefix + "x", interfaces.SidecarPrefix + "_2e_2e_2f",
		interfaces.SidecarPrefix + strings.Repeat("a", 20<<10),
	}})
	if now := connectionsOf(t, expectedDaemon); !slices.Equal(now, connections) {
		t.Errorf("the daemon's connections were %v, and are %v", connections, now)
	}
	if len(failures) != 0 {
		t.Error(failures)
	}
	const e = "org.freedesktop.DBus.Error."
	for _, want := range []string{
		"big-endian: " + e + "InvalidArgs", "all flags: ", "300 KiB: " + e + "LimitsExceeded",
		"no argument: " + e + "InvalidArgs", "path /: ",
		"path " + interfaces.SidecarPrefix + "x: " + e + "UnknownObject",
	} {
		if o.Answers[want] == 0 {
			t.Errorf("no %q", want)
		}
	}
}

// TestDBusHostileChurn has thousands of names come, call and go.
func TestDBusHostileChurn(t *testing.T) {
	begin(t)
	forgetPeak(t)
	_, onBus, onVarlink, failures := during(t, mischief{Churn: 3000})
	if len(failures) != 0 || max(onBus, onVarlink) > 10*time.Second || peakKB(t) > 120000 {
		t.Errorf("root waited %v on the bus, %v on varlink; %d kB; %v", onBus, onVarlink, peakKB(t), failures)
	}
	descriptors, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", expectedDaemon))
	if err != nil || len(descriptors) > 60 {
		t.Errorf("%d descriptors, %v", len(descriptors), err)
	}
}

// TestDBusHostileHoarder has somebody call without end and read no answers. The bus
// keeps them, and is kept busy, so that callers on it wait; those on varlink hardly
// notice, and nothing is kept in the daemon.
func TestDBusHostileHoarder(t *testing.T) {
	begin(t)
	forgetPeak(t)
	_, onBus, onVarlink, failures := during(t, mischief{Hoard: 10})
	if onVarlink > 5*time.Second || peakKB(t) > 150000 {
		t.Errorf("root waited %v on the bus, %v on varlink; %d kB; %v", onBus, onVarlink, peakKB(t), failures)
	}
	eventually(t, time.Minute, "the bus serves again", func() bool {
		return manager(minute(t), nil, "ListProfiles", "a{sv}", "0") == nil
	})
}
