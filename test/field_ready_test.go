//go:build testhost

package test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// TestFieldNeverReadyBeforeItsEnd makes each shipped program end late in its start, many
// times: a launch that was answered as ready does not die of that.
func TestFieldNeverReadyBeforeItsEnd(t *testing.T) {
	begin(t)
	rounds := 50
	if testing.Short() {
		rounds = 10
	}
	for name, test := range map[string]struct {
		make func(*testing.T) kind
		says string // in its output
	}{
		"dnsmasq may not drop its privileges": {dnsmasqThatStaysRoot, "failed to change group-id"},
		"dnsmasq's port is in use":            {dnsmasqWithoutItsPort, "Address already in use"},
		"dnsmasq's log cannot be written":     {dnsmasqWithoutItsLog, "cannot open log"},
		"dnsmasq's leases cannot be written":  {dnsmasqWithoutItsLeases, "cannot open or create lease file"},
		"haproxy's port is in use":            {haproxyWithoutItsPort, "Some protocols failed to start their listeners"},
		"haproxy's socket cannot be made":     {haproxyWithoutItsSocket, "cannot bind UNIX socket"},
		"keepalived's interface is missing":   {keepalivedWithoutItsInterface, "VRRP"},
		"keepalived has no virtual router":    {keepalivedWithNonsense, "VRRP"},
		"conntrackd's interface is missing":   {conntrackdWithoutItsInterface, "invalid interface"},
		"conntrackd's log cannot be written":  {conntrackdWithoutItsLog, "can't open logfile"},
		"radvd's configuration is wrong":      {radvdWithNonsense, "syntax error"},
		"radvd's interface is missing":        {radvdWithoutAnInterface, "does not exist or is not set up"},
		"dibbler's interface is missing":      {dibblerWithoutItsInterface, "Starting daemon"}, // the rest is in its log file
	} {
		t.Run(name, func(t *testing.T) {
			k := test.make(t)
			stopAllAtEnd(t, k.agent)
			dead, ready, said := 0, 0, 0
			for range rounds {
				for _, file := range slices.Concat(k.pidFiles, k.stale) {
					_ = os.Remove(file)
				}
				s, err := as(t, k.agent).Launch(minute(t), k.parameters())
				if err != nil {
					if strings.Contains(err.Error(), test.says) {
						said++
					} else {
						t.Logf("%v without %q", err, test.says)
					}
					continue
				}
				ready++
				time.Sleep(500 * time.Millisecond)
				if now := get(t, k.agent, s.ID); now.Runtime.State != interfaces.StateReady {
					dead++
				}
			}
			// Not each time: journald does not know whose a line is that it reads after the
			// process has ended (SECURITY.md).
			if said < rounds/2 {
				t.Errorf("of %d launches %d failed as they should", rounds, said)
			}
			if dead > 0 || ready > 0 {
				t.Errorf("of %d launches %d were answered as ready, and %d of them were dead 0.5 s later", rounds, ready, dead)
			}
		})
	}
}

// dnsmasqThatStaysRoot is user 0 without SETUID and SETGID: dnsmasq writes its pid file,
// and ends because it cannot become another user.
func dnsmasqThatStaysRoot(t *testing.T) kind {
	t.Helper()
	shipped, err := os.ReadFile("/usr/share/sidecar/profiles.d/dnsmasq.toml")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(shipped), "capabilities = [", "user = \"root\"\ncapabilities = [ \"DAC_OVERRIDE\",", 1)
	withPolicy(t, "profiles.d", "dnsmasq", text)
	return newDnsmasq(t)
}

// listenOn has another process listen on ports of a namespace, until the test ends.
func listenOn(t *testing.T, namespace, program string) {
	t.Helper()
	cmd := exec.Command("ip", "netns", "exec", namespace, "python3", "-c", "import socket, time\n"+program+"\nprint('listening', flush=True)\ntime.sleep(600)")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if n, err := out.Read(make([]byte, 16)); n == 0 {
		t.Fatal(err)
	}
}

func dnsmasqWithoutItsPort(t *testing.T) kind {
	t.Helper()
	k := newDnsmasq(t)
	run(t, "ip", "-n", k.namespace, "link", "set", "lo", "up")
	listenOn(t, k.namespace, "s = [socket.socket(socket.AF_INET, k) for k in (socket.SOCK_DGRAM, socket.SOCK_STREAM)]\nfor x in s: x.bind(('0.0.0.0', 53))\ns[1].listen()")
	return k
}

func dnsmasqWithoutItsLog(t *testing.T) kind {
	t.Helper()
	k := newDnsmasq(t)
	log := strings.TrimSuffix(k.pidFiles[0], "pid") + "log"
	if err := os.Mkdir(log, 0o700); err != nil {
		t.Fatal(err)
	}
	k.arguments = append(k.arguments, "--log-facility="+log)
	return k
}

func haproxyWithoutItsPort(t *testing.T) kind {
	t.Helper()
	k, _ := newHaproxy(t)
	listenOn(t, k.namespace, "s = socket.socket()\ns.bind(('0.0.0.0', 80))\ns.listen()")
	return k
}

func conntrackdWithoutItsInterface(t *testing.T) kind {
	t.Helper()
	k, _ := newConntrackd(t)
	run(t, "ip", "-n", k.namespace, "link", "delete", haInterface)
	return k
}

func radvdWithNonsense(t *testing.T) kind {
	t.Helper()
	k := newRadvd(t)
	write(t, k.arguments[1], "interface "+routerInterface+" {\n AdvSendAdvert on;\n nonsense\n};\n")
	return k
}

func radvdWithoutAnInterface(t *testing.T) kind {
	t.Helper()
	k := newRadvd(t)
	write(t, k.arguments[1], "interface missing {\n IgnoreIfMissing off;\n AdvSendAdvert on;\n};\n")
	return k
}

func dnsmasqWithoutItsLeases(t *testing.T) kind {
	t.Helper()
	k := newDnsmasq(t)
	for i, argument := range k.arguments {
		if file, ok := strings.CutPrefix(argument, "--dhcp-leasefile="); ok {
			k.arguments[i] = argument + ".directory"
			if err := os.Mkdir(file+".directory", 0o700); err != nil {
				t.Fatal(err)
			}
		}
	}
	return k
}

// haproxyWith adds a line to the global section of haproxy's configuration.
func haproxyWith(t *testing.T, line string) kind {
	t.Helper()
	k, configure := newHaproxy(t)
	configure(uuid())
	text, err := os.ReadFile(k.arguments[1])
	if err != nil {
		t.Fatal(err)
	}
	write(t, k.arguments[1], strings.Replace(string(text), "global\n", "global\n    "+line+"\n", 1))
	return k
}

func haproxyWithoutItsSocket(t *testing.T) kind {
	t.Helper()
	return haproxyWith(t, "stats socket /missing/stats")
}

func keepalivedWithoutItsInterface(t *testing.T) kind {
	t.Helper()
	k, _, r := newKeepalived(t)
	run(t, "ip", "-n", r.namespace, "link", "delete", haInterface)
	return k
}

func keepalivedWithNonsense(t *testing.T) kind {
	t.Helper()
	k, configuration, _ := newKeepalived(t)
	write(t, configuration, "vrrp_instance VR_7 {\n    state BACKUP\n    interface "+haInterface+"\n}\n")
	return k
}

func conntrackdWithoutItsLog(t *testing.T) kind {
	t.Helper()
	k, dir := newConntrackd(t)
	text, err := os.ReadFile(dir + "/conntrackd.conf")
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/conntrackd.conf", strings.Replace(string(text), "General {\n", "General {\n    LogFile /missing/log\n", 1))
	return k
}

func dibblerWithoutItsInterface(t *testing.T) kind {
	t.Helper()
	k, _ := newDibbler(t)
	run(t, "ip", "-n", k.namespace, "link", "delete", routerInterface)
	return k
}

// TestFieldHaproxyWithoutAPIDFile: a configuration that names no pid file is refused at once,
// where it would hold a slot until the launch's timeout.
func TestFieldHaproxyWithoutAPIDFile(t *testing.T) {
	begin(t)
	k, configure := newHaproxy(t)
	configure(uuid())
	text, err := os.ReadFile(k.arguments[1])
	if err != nil {
		t.Fatal(err)
	}
	pid := k.pidFiles[0]
	for name, test := range map[string]struct{ from, to, want string }{
		"none":    {"pidfile ", "#pidfile ", "pidfile: no line names the pid file, which would never be there: add \"pidfile " + pid + "\""},
		"another": {pid, pid + ".other", "pidfile: it is \"" + pid + ".other\", and \"" + pid + "\" is waited for"},
	} {
		t.Run(name, func(t *testing.T) {
			write(t, k.arguments[1], strings.Replace(string(text), test.from, test.to, 1))
			began := time.Now()
			checkFailure(t, k.agent, k.parameters(), 125, test.want)
			if took := time.Since(began); took > 25*time.Second { // the launch's timeout is 30 s
				t.Errorf("it took %v", took)
			}
		})
	}
	write(t, k.arguments[1], string(text))
	k.stops(t, k.launch(t))
}
