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
	for name, make := range map[string]func(*testing.T) kind{
		"dnsmasq may not drop its privileges": dnsmasqThatStaysRoot,
		"dnsmasq's port is in use":            dnsmasqWithoutItsPort,
		"dnsmasq's log cannot be written":     dnsmasqWithoutItsLog,
		"haproxy's port is in use":            haproxyWithoutItsPort,
		"conntrackd's interface is missing":   conntrackdWithoutItsInterface,
		"radvd's configuration is wrong":      radvdWithoutAnInterface,
	} {
		t.Run(name, func(t *testing.T) {
			k := make(t)
			stopAllAtEnd(t, k.agent)
			dead, ready := 0, 0
			for range rounds {
				for _, file := range slices.Concat(k.pidFiles, k.stale) {
					_ = os.Remove(file)
				}
				s, err := as(t, k.agent).Launch(minute(t), k.parameters())
				if err != nil {
					continue
				}
				ready++
				time.Sleep(500 * time.Millisecond)
				if now := get(t, k.agent, s.ID); now.Runtime.State != interfaces.StateReady {
					dead++
				}
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

func radvdWithoutAnInterface(t *testing.T) kind {
	t.Helper()
	k := newRadvd(t)
	write(t, k.arguments[1], "interface "+routerInterface+" {\n AdvSendAdvert on;\n nonsense\n};\n")
	return k
}
