//go:build testhost

package test

import (
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/interfaces"
)

// deep is a value that takes 8 bytes on the wire, and a structure for each level.
type deep struct {
	A struct {
		A struct {
			A struct {
				A struct {
					A struct{ A struct{ A struct{ A byte } } }
				}
			}
		}
	}
}

// sendDeep makes so many calls at once on each of so many connections, each as long
// as may be and costly to decode.
func sendDeep(connections, calls int) (map[string]int, error) {
	m := callOf(interfaces.BusName, interfaces.ManagerPath, interfaces.ManagerInterface, "List",
		map[string]dbus.Variant{"id": dbus.MakeVariant(make([]deep, (255<<10)/8))})
	var all []*rawBus
	for range connections {
		r, err := dialRaw()
		if err == nil {
			_, err = r.call(pingOf(interfaces.ManagerPath)) // from now on its calls may be long
		}
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	frame, err := all[0].encode(m, binary.LittleEndian)
	if err != nil {
		return nil, err
	}
	for range calls {
		for _, r := range all {
			r.serial++
			binary.LittleEndian.PutUint32(frame[8:], r.serial)
			if _, err := r.conn.Write(frame); err != nil {
				return nil, err
			}
		}
	}
	answers := map[string]int{}
	for _, r := range slices.Backward(all) {
		m, err := r.answer()
		if err != nil {
			return nil, err
		}
		answers[failureOf(m)]++
	}
	return answers, nil
}

// churn connects, calls and leaves, so many times.
func churn(times int) error {
	for range times {
		r, err := dialRaw()
		if err == nil {
			err = r.send(hugeOf(100))
		}
		if err != nil {
			return err
		}
		_ = r.conn.Close()
	}
	return nil
}

// hoard makes calls on so many connections and reads no answers, for a time.
func hoard(connections int, limit time.Duration) (int, error) {
	end := time.Now().Add(limit)
	var calls atomic.Int64
	var all sync.WaitGroup
	for range connections {
		r, err := dialRaw()
		if err != nil {
			return 0, err
		}
		_ = r.conn.SetWriteDeadline(end)
		all.Go(func() {
			m := callOf(interfaces.BusName, interfaces.ManagerPath, "org.freedesktop.DBus.Introspectable", "Introspect")
			for r.send(m) == nil && time.Now().Before(end) {
				if calls.Add(1)%50 == 0 { // so that the bus does not refuse them itself
					time.Sleep(5 * time.Millisecond)
				}
			}
		})
	}
	all.Wait()
	return int(calls.Load()), nil
}
