package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The kernel's events of the whole machine: only the descendants of sidecar-launch count,
// threads included, and names of processes may have blanks.
func TestParseTrace(t *testing.T) {
	got, err := parseTrace(`# tracer: nop
     (sd-exec)-9     [000] .....   10.000100: sched_process_exec: filename=/bin/other pid=9 old_pid=9
     (ar-exec)-20    [000] .....   10.000200: sched_process_exec: filename=/usr/libexec/sidecar/sidecar-launch pid=20 old_pid=20
 sidecar-launch-20   [000] .....   10.000300: sched_process_fork: comm=sidecar-launch pid=20 child_comm=sidecar-launch child_pid=21
 sidecar-launch-21   [001] .....   10.000400: sched_process_fork: comm=sidecar-launch pid=21 child_comm=sidecar-launch child_pid=22
            make-30  [001] .....   10.000500: sched_process_fork: comm=make pid=30 child_comm=make child_pid=31
            make-31  [001] .....   10.000600: sched_process_exec: filename=/bin/cc pid=31 old_pid=31
 sidecar-launch-22   [001] .....   11.000700: sched_process_exec: filename=/usr/bin/podman pid=22 old_pid=22
     runc:[2:INI T]-22   [001] .....   11.000800: sched_process_fork: comm=runc:[2:INI T] pid=22 child_comm=runc:[2:INI T] child_pid=23
     runc:[2:INI T]-23   [001] .....   11.000900: sched_process_exec: filename=/usr/sbin/dnsmasq pid=23 old_pid=23
`)
	if err != nil {
		t.Fatal(err)
	}
	at := func(seconds, micros time.Duration) time.Duration {
		return seconds*time.Second + micros*time.Microsecond
	}
	want := []executed{
		{at(10, 200), launcherPath},
		{at(11, 700), "/usr/bin/podman"},
		{at(11, 900), "/usr/sbin/dnsmasq"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(executed{})); diff != "" {
		t.Error(diff)
	}
}
