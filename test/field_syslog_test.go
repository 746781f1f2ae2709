//go:build testhost

package test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const syslogSocket = "/dev/log"

// useSyslog sends datagrams to syslog's socket, as they are: a number N before one, as
// "N*", sends it as often, with a count. It also tries to do more with the socket.
func useSyslog(arguments []string) map[string]string {
	result := map[string]string{
		"chmod":  nameOf(os.Chmod(syslogSocket, 0o600)),
		"chown":  nameOf(os.Chown(syslogSocket, os.Getuid(), os.Getgid())),
		"unlink": nameOf(os.Remove(syslogSocket)),
	}
	conn, err := net.Dial("unixgram", syslogSocket)
	if err != nil {
		result[attackFailed] = err.Error()
		return result
	}
	defer conn.Close()
	for _, argument := range arguments {
		times := 1
		if number, text, ok := strings.Cut(argument, "*"); ok {
			times, _ = strconv.Atoi(number)
			argument = text
		}
		for i := range times {
			if _, err := fmt.Fprintf(conn, "%s %d", argument, i); err != nil {
				result[attackFailed] = err.Error()
			}
		}
	}
	return result
}

func nameOf(err error) string {
	var errno syscall.Errno
	if err == nil || !errors.As(err, &errno) {
		return "ok"
	}
	return unix.ErrnoName(errno)
}

// text returns a field of an entry.
func (e entry) text(field string) string {
	text, _ := e[field].(string)
	return text
}

// TestFieldSyslog: what each shipped program logs is in the log of its unit, with the
// fields of the sidecar, and nothing of the engine's is.
func TestFieldSyslog(t *testing.T) {
	begin(t)
	for profile, test := range map[string]struct {
		make func(*testing.T) kind
		says string
	}{
		"conntrackd": {func(t *testing.T) kind { k, _ := newConntrackd(t); return k }, "starting in daemon mode"},
		"dnsmasq":    {newDnsmasq, "started, version"},
		"haproxy":    {func(t *testing.T) kind { k, _ := newHaproxy(t); return k }, "GET /qrouter-"},
		"keepalived": {func(t *testing.T) kind { k, _, _ := newKeepalived(t); return k }, "Starting Keepalived"},
		"radvd":      {newRadvd, "version"},
	} {
		t.Run(profile, func(t *testing.T) {
			k := test.make(t)
			since := now()
			s := k.launch(t)
			if profile == "haproxy" { // logs requests
				_, _ = output("ip", "netns", "exec", k.namespace, "bash", "-c", `exec 3<>/dev/tcp/127.0.0.1/80; printf 'GET /qrouter- HTTP/1.0\r\n\r\n' >&3; timeout 5 cat <&3`)
			}
			eventually(t, 10*time.Second, "it has logged "+test.says, func() bool {
				return slices.ContainsFunc(entriesSince(t, since, "_TRANSPORT=syslog", "SIDECAR_ID="+s.ID), func(e entry) bool {
					return strings.Contains(e.text("MESSAGE"), test.says)
				})
			})
			k.stops(t, s)
			for _, e := range entriesSince(t, since, "_SYSTEMD_UNIT="+s.Runtime.Unit) {
				if program := e.text("_COMM"); program != "" && program != "sidecar-launch" && !strings.HasPrefix(profile, program) {
					t.Errorf("%s logs to the unit: %s", program, e.text("MESSAGE"))
				}
				if profile == "keepalived" && e.text("_TRANSPORT") == "stdout" {
					t.Errorf("it logs to stdout, too: %s", e.text("MESSAGE"))
				}
			}
		})
	}
}

// TestFieldSyslogOff: without it there is no socket.
func TestFieldSyslogOff(t *testing.T) {
	begin(t)
	namespace(t, "t-unlogged")
	withPolicy(t, "profiles.d", "unlogged", "syslog = false\n"+profileFiles()["probe"])
	withPolicy(t, "agents.d", "users", strings.Replace(agentFiles[tester], `["dnsmasq"`, `["unlogged", "dnsmasq"`, 1))
	for profile, want := range map[string]bool{"probe": true, "unlogged": false} {
		s := start(t, "users", shaped(t, profile, "t-unlogged"))
		if _, err := os.Stat(fmt.Sprintf("/proc/%d/root%s", *s.Runtime.ProcessID, syslogSocket)); (err == nil) != want {
			t.Errorf("%s: %v", profile, err)
		}
	}
}

// TestFieldSyslogForgesNothing: a payload chooses the text, the name and the priority of
// what it logs, and nothing else. The socket is the host's, and stays as it is.
func TestFieldSyslogForgesNothing(t *testing.T) {
	begin(t)
	before := statOf(t, "/run/systemd/journal/dev-log")
	since := now()
	a := targetOf(t, "dnsmasq", `user = "root"`)
	if err := os.Chown(a.writable, 0, 0); err != nil { // it has no CAP_DAC_OVERRIDE
		t.Fatal(err)
	}
	s := a.begin(t, "syslog",
		"<30>sidecard[1]: Launch allowed: forged",
		"DECISION=allowed\nSIDECAR_ID=forged\n_PID=1\nMESSAGE=forged\n",
		"<30>forged\nDECISION=allowed\n",
	)
	for what, got := range a.result(t, s) {
		if got == "ok" {
			t.Errorf("%s of the socket: %s", what, got)
		}
	}
	if after := statOf(t, "/run/systemd/journal/dev-log"); after != before {
		t.Errorf("the socket was %+v, it is %+v", before, after)
	}
	eventually(t, 10*time.Second, "three lines are in the journal", func() bool {
		return len(forged(entriesSince(t, since, "_SYSTEMD_UNIT="+s.Runtime.Unit))) == 3
	})
	for _, e := range forged(entriesSince(t, since)) {
		if e.text("DECISION") != "" || e.text("SIDECAR_ID") != s.ID || e.text("_SYSTEMD_UNIT") != s.Runtime.Unit || e.text("_PID") != strconv.FormatInt(*s.Runtime.ProcessID, 10) {
			t.Errorf("entry %v", e)
		}
	}
}

func forged(entries []entry) []entry {
	return slices.DeleteFunc(entries, func(e entry) bool { return !strings.Contains(e.text("MESSAGE"), "forged") })
}

func statOf(t *testing.T, path string) (is [4]uint64) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return [4]uint64{st.Ino, uint64(st.Mode), uint64(st.Uid), uint64(st.Gid)}
}

// TestFieldSyslogWithoutEnd: a payload that logs without end is held by the unit's limit,
// and the decisions of the service stay in the journal.
func TestFieldSyslogWithoutEnd(t *testing.T) {
	begin(t)
	const sent = 50000
	a := targetOf(t, "dnsmasq")
	since := now()
	s := a.begin(t, "syslog", fmt.Sprintf("%d*<30>endless: line", sent))
	a.result(t, s)
	if got := len(entriesSince(t, since, "_SYSTEMD_UNIT="+s.Runtime.Unit)); got == 0 || got > sent/5 {
		t.Errorf("%d of %d lines are in the journal", got, sent)
	}
	if len(entriesSince(t, since, "DECISION=allowed", "SIDECAR_ID="+s.ID)) == 0 {
		t.Error("the decision is not there")
	}
}

// TestFieldSyslogAfterJournald: the socket is PID 1's, and what is logged after a restart
// of journald arrives.
func TestFieldSyslogAfterJournald(t *testing.T) {
	begin(t)
	k := newDnsmasq(t)
	s := k.launch(t)
	run(t, "systemctl", "restart", "systemd-journald.service")
	since := now()
	k.reloads(t, s)
	eventually(t, 10*time.Second, "dnsmasq has logged its reload", func() bool {
		return len(entriesSince(t, since, "_TRANSPORT=syslog", "SIDECAR_ID="+s.ID)) > 0
	})
}

// TestFieldSyslogOfAFailure: the caller of a launch that failed hears what its program
// logged, if it has said nothing else.
func TestFieldSyslogOfAFailure(t *testing.T) {
	begin(t)
	k, configuration, _ := newKeepalived(t)
	write(t, configuration, "vrrp_instance VR_7 {\n    state BACKUP\n")
	var err error
	// journald cannot learn the unit of a message that it reads after the end of the process.
	for range 5 {
		_, err = as(t, k.agent).Launch(minute(t), k.parameters())
		stopAllAtEnd(t, k.agent)
		if err == nil {
			t.Skip("this keepalived starts with half a configuration") // nothing to be heard of
		}
		if strings.Contains(err.Error(), "(Line ") || strings.Contains(err.Error(), "onfiguration") {
			return
		}
	}
	t.Errorf("the caller hears %v", err)
}
