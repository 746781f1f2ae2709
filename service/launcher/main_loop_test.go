package launcher

import (
	"errors"
	"strings"
	"testing"
	"time"

	"tripleo.io/sidecar/service/document"
)

// unitInTurn shows one set of processes after the other, the last one for ever.
func unitInTurn(sets ...[]Process) ProcessTable {
	return func() ([]Process, error) {
		set := sets[0]
		if len(sets) > 1 {
			sets = sets[1:]
		}
		return set, nil
	}
}

// TestReadySettles shows what Ready waits for when the payload says that it is
// ready: each case is a list of what the unit consists of at one look.
func TestReadySettles(t *testing.T) {
	t.Parallel()
	main := mainOf(t)
	conmon := Process{PID: main.Process.Pid, NSPID: []int{main.Process.Pid}}
	first := Process{PID: 200, Parent: conmon.PID, NSPID: []int{200, 1}}
	unhandled, helper := first, Process{PID: 201, Parent: 200, NSPID: []int{201, 7}}
	unhandled.LosesSIGTERM = true
	busy := first
	busy.Busy = true
	for name, test := range map[string]struct {
		sets  [][]Process
		looks int // least, before it is ready
	}{
		"at once":              {[][]Process{{conmon, first, helper}}, 2},
		"a handler comes":      {[][]Process{{conmon, unhandled}, {conmon, unhandled}, {conmon, unhandled}, {conmon, first}}, 4},
		"its start ends":       {[][]Process{{conmon, busy}, {conmon, busy}, {conmon, first}}, 3},
		"it runs for ever":     {[][]Process{{conmon, busy}}, 10},
		"unhandled, then busy": {[][]Process{{conmon, unhandled}, {conmon, busy}, {conmon, first}}, 3},
		"no handler, ever":     {[][]Process{{conmon, unhandled}}, 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			looks, table := 0, unitInTurn(test.sets...)
			counted := ProcessTable(func() ([]Process, error) { looks++; return table() })
			pid, err := Launcher{}.Ready(deadline(t, 10*time.Second), documentOf(document.Plan{ID: testID, PIDNamespace: document.Private}), counted, conmon.PID)
			if pid != 200 || err != nil || looks < test.looks {
				t.Errorf("process %d, %v after %d looks, want 200 after %d", pid, err, looks, test.looks)
			}
		})
	}
}

func TestReadyFindsTheDaemon(t *testing.T) {
	t.Parallel()
	main := mainOf(t)
	conmon := Process{PID: main.Process.Pid, NSPID: []int{main.Process.Pid}}
	initial := Process{PID: 200, Parent: conmon.PID, NSPID: []int{200, 1}, Name: "sidecar-init"}
	settled := initial
	settled.Name = "daemon 9"
	launcher := Process{PID: 207, Parent: 200, NSPID: []int{207, 7}}
	child := Process{PID: 209, Parent: 207, NSPID: []int{209, 9}}
	adopted := child
	adopted.Parent = 200
	table := unitInTurn(
		[]Process{conmon}, []Process{conmon, initial}, []Process{conmon, initial, launcher},
		[]Process{conmon, initial, launcher, child}, []Process{conmon, initial, adopted}, []Process{conmon, settled, adopted},
	)
	p := documentOf(document.Plan{ID: testID, PIDNamespace: document.Private, Init: "/init"})
	if pid, err := (Launcher{}).Ready(deadline(t, 10*time.Second), p, table, conmon.PID); pid != 209 || err != nil {
		t.Errorf("process %d, %v, want 209", pid, err)
	}
	for name, test := range map[string]struct {
		named Process
		unit  []Process
		want  int
	}{
		"named before its launcher has gone": {child, []Process{conmon, initial, launcher, child}, 0},
		"named and adopted":                  {child, []Process{conmon, initial, adopted}, 209},
		"never left":                         {launcher, []Process{conmon, initial, launcher}, 207},
		"gone":                               {child, []Process{conmon, initial}, 0},
	} {
		got, err := payload(p, unitInTurn(test.unit), test.named, conmon.PID, false)
		var reason notReady
		if got.PID != test.want && test.want != 0 || errors.As(err, &reason) != (test.want == 0) {
			t.Errorf("%s: process %d, %v, want %d", name, got.PID, err, test.want)
		}
	}
	p.PIDNamespace = document.Host
	if err := p.Validate(); err == nil || !strings.Contains(err.Error(), "pid namespace of its own") {
		t.Errorf("in the host's pid namespace: %v", err)
	}
}
