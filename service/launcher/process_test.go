package launcher

import (
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/service/document"
)

func TestLaunchFindTakesOnlyProcessesOfTheUnit(t *testing.T) {
	t.Parallel()
	conmon := Process{PID: 100, Parent: 1, NSPID: []int{100}}
	first := Process{PID: 200, Parent: 100, NSPID: []int{200, 1}}
	child := Process{PID: 201, Parent: 200, NSPID: []int{201, 7}}
	deeper := Process{PID: 300, Parent: 201, NSPID: []int{300, 9, 1}}
	twin := Process{PID: 400, Parent: 100, NSPID: []int{400, 1}}
	tests := map[string]struct {
		unit      []Process
		namespace string
		number    int
		want      int // 0: none yet
	}{
		"first":                     {[]Process{conmon, first, child}, document.Private, 1, 200},
		"child":                     {[]Process{conmon, first, child}, document.Private, 7, 201},
		"outermost wins":            {[]Process{deeper, conmon, first}, document.Private, 1, 200},
		"outermost wins, reversed":  {[]Process{first, conmon, deeper}, document.Private, 1, 200},
		"two containers":            {[]Process{first, twin}, document.Private, 1, 0},
		"host number, private":      {[]Process{conmon, first}, document.Private, 100, 0},
		"outer number, private":     {[]Process{conmon, first}, document.Private, 200, 0},
		"middle number, private":    {[]Process{conmon, deeper}, document.Private, 9, 0},
		"foreign":                   {[]Process{conmon, first}, document.Private, 4711, 0},
		"host":                      {[]Process{conmon, first}, document.Host, 100, 100},
		"nested number, host":       {[]Process{conmon, first}, document.Host, 1, 0},
		"nested outer number, host": {[]Process{conmon, first}, document.Host, 200, 0},
		"foreign, host":             {[]Process{conmon}, document.Host, 4711, 0},
		"empty unit":                {nil, document.Private, 1, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			table := ProcessTable(func() ([]Process, error) { return test.unit, nil })
			got, err := find(table, test.namespace, test.number)
			var reason notReady
			if got.PID != test.want || errors.As(err, &reason) != (test.want == 0) {
				t.Errorf("process %d, error %v, want %d", got.PID, err, test.want)
			}
		})
	}
}

func TestLaunchPayloadWithoutPIDFile(t *testing.T) {
	t.Parallel()
	conmon := Process{PID: 100, Parent: 1, NSPID: []int{100}}
	inside := Process{PID: 200, Parent: 100, NSPID: []int{200, 1}}
	plain := Process{PID: 201, Parent: 100, NSPID: []int{201}}
	tests := map[string]struct {
		unit      []Process
		namespace string
		want      int
	}{
		"private":               {[]Process{conmon, inside}, document.Private, 200},
		"private, not there":    {[]Process{conmon}, document.Private, 0},
		"host, child":           {[]Process{conmon, plain}, document.Host, 201},
		"host, main itself":     {[]Process{conmon}, document.Host, 100},
		"host, many children":   {[]Process{conmon, plain, inside}, document.Host, 100},
		"host, main is missing": {nil, document.Host, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			table := ProcessTable(func() ([]Process, error) { return test.unit, nil })
			got, err := payload(documentOf(document.Plan{PIDNamespace: test.namespace}), table, Process{}, 100, false)
			if got.PID != test.want || (err == nil) != (test.want != 0) {
				t.Errorf("process %d, error %v, want %d", got.PID, err, test.want)
			}
		})
	}
}

func TestLaunchReadsProcStatus(t *testing.T) {
	t.Parallel()
	text := "Name:\tdns\\nPid:\t1\nPid:\t42\nPPid:\t7\nTracerPid:\t99\nNStgid:\t42\t3\nNSpid:\t42\t3\t1\nNSpgid:\t8\n"
	got, err := parseStatus(text)
	if diff := cmp.Diff(Process{PID: 42, Parent: 7, NSPID: []int{42, 3, 1}, Name: "dns\\nPid:\t1"}, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	for _, bad := range []string{"", "Pid:\t42\n", "NSpid:\t42\n", "Pid:\tx\nNSpid:\t1\n"} {
		if _, err := parseStatus(bad); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
	self, ok, err := readProcess("/proc", os.Getpid())
	if !ok || err != nil || self.PID != os.Getpid() || self.Parent != os.Getppid() {
		t.Errorf("ourselves: %+v, %t, %v", self, ok, err)
	}
	if _, ok, err := readProcess("/proc", 1<<30); ok || err != nil {
		t.Errorf("a process that is not there: %t, %v", ok, err)
	}
}

func FuzzLaunchProcStatus(f *testing.F) {
	f.Add("Name:\tx\nPid:\t42\nPPid:\t7\nNSpid:\t42\t1\n")
	f.Add("Pid:\nNSpid:")
	f.Fuzz(func(t *testing.T, text string) {
		if p, err := parseStatus(text); err == nil && (p.PID == 0 || len(p.NSPID) == 0) {
			t.Errorf("%q gave %+v", text, p)
		}
	})
}

func TestLaunchBusyProcess(t *testing.T) {
	t.Parallel()
	for state, want := range map[string]bool{
		"S (sleeping)": false, "R (running)": true, "D (disk sleep)": true, "Z (zombie)": true, "X (dead)": true, "T (stopped)": true,
	} {
		p, err := parseStatus("Name:\tdnsmasq\nState:\t" + state + "\nPid:\t9\nPPid:\t1\nNSpid:\t9\t1\n")
		if err != nil || p.Busy != want {
			t.Errorf("%s: busy %t, %v", state, p.Busy, err)
		}
	}
	for where, want := range map[string]bool{
		"": true, "0": true, "poll_schedule_timeout.constprop.0": true, "ep_poll": true, "do_select": true, "do_wait": true,
		"pipe_read": true, "unix_stream_read_generic": true, "wait_woken": true,
		"unix_wait_for_peer": false, "folio_wait_bit_common": false, "sock_alloc_send_pskb": false,
	} {
		if got := waitsForEvents(where); got != want {
			t.Errorf("in %q: waits for events %t, want %t", where, got, want)
		}
	}
}

func TestLaunchProcessThatLosesSIGTERM(t *testing.T) {
	t.Parallel()
	// The masks are haproxy's while it starts, and then.
	for status, want := range map[string]bool{
		"NSpid:\t9\t1\nSigBlk:\t0000000000310a01\nSigCgt:\t0000000100000000\n": true,
		"NSpid:\t9\t1\nSigBlk:\t0000000000000000\nSigCgt:\t0000000100716a03\n": false,
		"NSpid:\t9\t1\nSigBlk:\t0000000000004000\nSigCgt:\t0000000000000000\n": false, // signalfd(2)
		"NSpid:\t9\t1\nSigBlk:\tfffffffe7ffbfeff\nSigCgt:\t0000000000000000\n": true,  // in a fork
		"NSpid:\t9\t2\nSigBlk:\t0000000000000000\nSigCgt:\t0000000000000000\n": false,
		"NSpid:\t9\nSigBlk:\t0000000000000000\nSigCgt:\t0000000000000000\n":    false,
	} {
		p, err := parseStatus("Name:\thaproxy\nPid:\t9\nPPid:\t1\n" + status)
		if err != nil || p.LosesSIGTERM != want {
			t.Errorf("%q: unhandled %t, %v, want %t", status, p.LosesSIGTERM, err, want)
		}
	}
	if _, err := parseStatus("Pid:\t9\nNSpid:\t9\t1\nSigBlk:\tx\n"); err == nil {
		t.Error("a mask that is no number was accepted")
	}
}
