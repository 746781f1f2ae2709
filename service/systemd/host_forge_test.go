//go:build testhost

package systemd

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// TestMain is also the forger: the test binary runs itself as nobody.
func TestMain(m *testing.M) {
	if os.Getenv("FORGE_TARGET") != "" {
		arrived, err := forge(os.Getenv("FORGE_TARGET"), os.Getenv("FORGE_UNIT"), os.Getenv("FORGE_JOB"))
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(arrived)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// forge sends what looks like systemd's signals, to everybody, straight to the
// target and to a connection of its own without a guard, with bodies that fit and
// that do not. It returns how many of them arrived at the latter.
func forge(target, unit, job string) (arrived int, err error) {
	conn, err := dbus.ConnectSystemBus()
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	witness, err := dbus.ConnectSystemBus()
	if err != nil {
		return 0, err
	}
	defer witness.Close()
	signals := make(chan *dbus.Signal, 10000)
	witness.Signal(signals)
	number, err := strconv.ParseUint(job, 10, 32)
	if err != nil {
		return 0, err
	}
	deep := any("deep")
	for range 60 {
		deep = dbus.MakeVariant(deep)
	}
	id, path := uint32(number), dbus.ObjectPath(jobPrefix+job)
	bodies := [][]any{
		{id, path, unit, "done"},
		{id, path, unit, "failed"},
		{unit, unitPath(unit)},
		{unitInterface, map[string]dbus.Variant{"ActiveState": dbus.MakeVariant("failed")}, []string{}},
		{destination, ":1.0", conn.Names()[0]},
		{destination, ":1.0", ""},
		{},
		{"", "", "", ""},
		{[]uint32{1, 2}, map[string]string{"a": "b"}},
		{deep},
		{make([]byte, 4<<10)},
		{true},
	}
	for range 5 {
		for _, to := range []string{"", target, witness.Names()[0]} {
			for _, body := range bodies {
				for _, m := range forgeries(unit, to, body) {
					conn.Send(m, nil)
				}
			}
		}
	}
	for range 10 { // straight to the target only
		conn.Send(forgeries(unit, target, []any{make([]byte, 4<<20)})[0], nil)
	}
	// The bus answers in order, so all is through.
	for _, c := range []*dbus.Conn{conn, witness} {
		if err := c.BusObject().Call("org.freedesktop.DBus.GetId", 0).Err; err != nil {
			return 0, err
		}
	}
	return len(signals), nil
}

const unitInterface = "org.freedesktop.systemd1.Unit"

func forgeries(unit, target string, body []any) []*dbus.Message {
	manager := "org.freedesktop.systemd1.Manager"
	var messages []*dbus.Message
	for _, name := range []struct {
		path          dbus.ObjectPath
		iface, member string
	}{
		{managerPath, manager, "JobRemoved"},
		{managerPath, manager, "UnitRemoved"},
		{managerPath, manager, "Reloading"},
		{unitPath(unit), "org.freedesktop.DBus.Properties", "PropertiesChanged"},
		{busPath, "org.freedesktop.DBus", "NameOwnerChanged"},
		{busPath, "org.freedesktop.DBus", "NameLost"},
	} {
		m := &dbus.Message{Type: dbus.TypeSignal, Body: body, Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldPath:      dbus.MakeVariant(name.path),
			dbus.FieldInterface: dbus.MakeVariant(name.iface),
			dbus.FieldMember:    dbus.MakeVariant(name.member),
		}}
		if target != "" {
			m.Headers[dbus.FieldDestination] = dbus.MakeVariant(target)
		}
		if len(body) > 0 {
			m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(body...))
		}
		messages = append(messages, m)
	}
	return messages
}

// Signals of other users of the bus end no wait, name no unit, cost no memory and
// do not break the connection.
func TestSystemdSignalsAreNotForged(t *testing.T) {
	c := dialHost(t)
	const name, other = "sdt-forged.service", "sdt-forged-other.service"
	t.Cleanup(func() { sweep(t, c, "sdt-forged*") })
	start(t, c, other, kindReady)
	if _, err := c.List(testContext(t), other); err != nil {
		t.Fatal(err)
	}
	changes := c.Changes()
	defer changes.Close()

	started := make(chan Unit, 1)
	begun := time.Now()
	go func() { u, _ := c.Start(context.Background(), name, script(kindSlow)); started <- u }()
	var job uint32
	waitFor(t, "the start", func() bool {
		u, err := c.Get(testContext(t), name)
		job = u.JobID
		return err == nil && job != 0
	})
	restarts, before := c.restarts.Load(), heap()
	for changed := []string{""}; len(changed) > 0; changed, _ = changes.Take() {
		time.Sleep(20 * time.Millisecond)
	}
	arrived := runForger(t, c.link.bus.Names()[0], other, job)
	if after := heap(); after > before+8<<20 {
		t.Errorf("heap grew from %d to %d", before, after)
	}
	if names, all := changes.Take(); all || contains(names, other) {
		t.Errorf("forged changes: %v, all: %v", names, all)
	}
	u := <-started
	if u.ActiveState != "active" || time.Since(begun) < 500*time.Millisecond {
		t.Errorf("start ended after %s with %+v", time.Since(begun), u)
	}
	if c.restarts.Load() != restarts {
		t.Error("the connection was lost, or believes in another systemd")
	}
	t.Logf("%d forged signals arrived at a connection without a guard", arrived)
}

// runForger returns how many forged signals arrive at a connection without a guard.
func runForger(t *testing.T, target, unit string, job uint32) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	forger := exec.CommandContext(ctx, "/proc/self/exe")
	forger.Env = []string{"FORGE_TARGET=" + target, "FORGE_UNIT=" + unit, fmt.Sprintf("FORGE_JOB=%d", job)}
	forger.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := forger.CombinedOutput()
	arrived, _ := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil || arrived == 0 {
		t.Fatalf("the forger achieved nothing: %v\n%s", err, out)
	}
	return arrived
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapSys
}

func contains(names []string, name string) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}
