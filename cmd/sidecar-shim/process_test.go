package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

func TestShimControlGroupNamesTheSidecar(t *testing.T) {
	t.Parallel()
	const unit = "sidecar-neutron-dhcp.dnsmasq.0123456789ab.service"
	const id = "neutron-dhcp.dnsmasq.0123456789ab"
	for text, want := range map[string]string{
		"0::/sidecar.slice/sidecar-neutron.slice/" + unit + "/libpod-payload-12ab\n": id,
		"0::/../../sidecar-x.slice/" + unit + "\n":                                   id,
		"12:pids:/x\n1:name=systemd:/a/" + unit + "/b\n0::/\n":                       id,
		"0::/a/" + unit + "/libpod-payload-12ab (deleted)\n":                         id,
		"0::/a/" + unit + " (deleted)\n":                                             "",
		"0::/\n":                                                                     "",
		"":                                                                           "",
		"no colons\n":                                                                "",
		"0::/x" + unit + "\n":                                                        "",
		"0::/sidecard.service\n":                                                     "",
		"0::/sidecar-a.b.c.service/x":                                                "",
		"0::/sidecar-launch.service/x\n":                                             "",
	} {
		if got, ok := sidecarIn(text); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %t; want %q", text, got, ok, want)
		}
	}
}

func FuzzControlGroup(f *testing.F) {
	f.Add("0::/sidecar-a.b.0123456789ab.service/x\n")
	f.Add("1:name=systemd:/a:b/c")
	f.Add("::sidecar-0.0.000000000000.service")
	f.Fuzz(func(t *testing.T, text string) {
		id, ok := sidecarIn(text)
		if !ok {
			return
		}
		if _, err := interfaces.ParseID(id); err != nil || !strings.Contains(text, "sidecar-"+id+".service") {
			t.Errorf("%q: %q", text, id)
		}
	})
}

func FuzzSignalAndPID(f *testing.F) {
	for _, s := range []string{"15", "-9", "HUP", "sighup", "SIGTERM", "0", "-", "1x", "+15", "99999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if name, err := parseSignal(s); err == nil && signalNumber(name) <= 0 {
			t.Errorf("%q is %q", s, name)
		}
		if pid, err := parsePID(s); err == nil && pid <= 1 {
			t.Errorf("%q is process %d", s, pid)
		}
	})
}

// table is a made-up process table.
func table(t *testing.T) processTable { t.Helper(); return processTable(t.TempDir()) }

// add makes files of a process: name and content in turn.
func (t processTable) add(tb testing.TB, pid string, files ...string) {
	tb.Helper()
	dir := filepath.Join(string(t), pid)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		tb.Fatal(err)
	}
	for i := 0; i < len(files); i += 2 {
		if err := os.WriteFile(filepath.Join(dir, files[i]), []byte(files[i+1]), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
}

func TestShimProcessesThatHaveEndedDoNotExist(t *testing.T) {
	t.Parallel()
	procs := table(t)
	for stat, want := range map[string]bool{
		"7 (dnsmasq) S 1": true, "7 (a) Z (b) R 1": true, "7 (dnsmasq) Z 1": false, "7 (x) X 1": false, "": false,
	} {
		procs.add(t, "7", "stat", stat)
		if got := procs.process(7).exists(); got != want {
			t.Errorf("%q: %t", stat, got)
		}
	}
	if procs.process(8).exists() {
		t.Error("there is no process 8")
	}
}

func TestShimProcessesHaveBeenStartedAtATime(t *testing.T) {
	t.Parallel()
	before := time.Now()
	cmd := exec.CommandContext(t.Context(), "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	after := time.Now()
	got, ok := ownProcesses.process(cmd.Process.Pid).started()
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
	const tick = 10 * time.Millisecond
	if !ok || got.Before(before.Add(-tick)) || got.After(after.Add(tick)) {
		t.Errorf("%v, %t; it was started between %v and %v", got, ok, before, after)
	}
	procs := table(t)
	for _, stat := range []string{"", "7 (x) S 1", "7 (x) S" + strings.Repeat(" x", 30)} {
		procs.add(t, "7", "stat", stat)
		if got, ok := procs.process(7).started(); ok {
			t.Errorf("%q: %v", stat, got)
		}
	}
}

func TestShimProcessesAreKnownByTheirProgram(t *testing.T) {
	t.Parallel()
	procs := table(t)
	for line, want := range map[string]bool{
		"/usr/sbin/keepalived\x00-P\x00":                true,
		"conntrackd\x00":                                true,
		"/usr/bin/python3\x00/usr/bin/keepalived\x00-x": true,
		"vi\x00-x\x00/usr/sbin/keepalived\x00":          false,
		"/usr/sbin/keepalived2\x00":                     false,
		"":                                              false,
		"\x00":                                          false,
		"sh\x00-c\x00keepalived\x00":                    false,
		"/bin/dash\x00keepalived\x00--pid_file=/x\x00\x00": true,
	} {
		procs.add(t, "7", "cmdline", line)
		if got := procs.process(7).runs([]string{"conntrackd", "keepalived"}); got != want {
			t.Errorf("%q: %t", line, got)
		}
	}
}

func TestShimStandInsAreFoundByTheirEnvironment(t *testing.T) {
	t.Parallel()
	procs := table(t)
	procs.add(t, "5", "environ", "A=b\x00SIDECAR_STAND_IN="+testID+" i1\x00")
	procs.add(t, "6", "environ", "SIDECAR_STAND_IN=a.dnsmasq.000000000000 i1\x00")
	procs.add(t, "7", "environ", "XSIDECAR_STAND_IN="+testID+" i1\x00")
	procs.add(t, "8", "environ", "SIDECAR_STAND_IN=nonsense\x00")
	procs.add(t, "self", "environ", "SIDECAR_STAND_IN="+testID+" i1\x00")
	if got := procs.standInsOf(testID); len(got) != 1 || got[0] != 5 {
		t.Errorf("found %v, want 5", got)
	}
}
