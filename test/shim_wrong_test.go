//go:build testhost

package test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

// shimAgent is an agent whose profiles have the names of programs, but run the
// payloads of the tests.
const shimAgent = "shim-agent"

const shimAgentFile = `profiles = ["radvd"]
network-namespaces = ["t-*"]
state-directories = ["/var/lib/tester"]
`

// withShimAgent makes that agent, its radvd being this.
func withShimAgent(t *testing.T, radvd string) shims {
	t.Helper()
	withPolicy(t, "profiles.d", "radvd", radvd)
	withPolicy(t, "agents.d", shimAgent, shimAgentFile)
	stopAllAtEnd(t, shimAgent)
	return shimsOf(t, shimAgent)
}

// checkWrong holds a failed call to its exit code, to all of these texts in what it
// says, and to end soon.
func checkWrong(t *testing.T, name string, r result, code int, texts ...string) {
	t.Helper()
	if r.code != code || r.out != "" {
		t.Errorf("%s: %v; want exit code %d", name, r, code)
	}
	for _, text := range texts {
		if !strings.Contains(r.err, text) {
			t.Errorf("%s: %q does not say %q", name, r.err, text)
		}
	}
	if r.took > slowness*10*time.Second {
		t.Errorf("%s took %v", name, r.took)
	}
}

func TestShimWrongUse(t *testing.T) {
	begin(t)
	stopAllAtEnd(t, neutron)
	s := shimsOf(t, neutron)
	n := bareNetwork(t)
	namespace(t, "forbidden")
	nowhere := shims{s.directory, "/run/nowhere/s"}
	for name, test := range map[string]struct {
		shims shims
		netns string
		argv  []string
		code  int
		texts []string
	}{
		"socket missing": {
			nowhere, n.namespace, append([]string{"dnsmasq"}, n.arguments()...), 1,
			[]string{"dnsmasq: sidecar: cannot reach the service at unix:/run/nowhere/s", "is sidecard running?"},
		},
		"profile": {
			s, n.namespace,
			[]string{"radvd", "-C", "/var/lib/neutron/ra/x.conf"},
			1,
			[]string{`radvd: sidecar: no such profile for this agent: "radvd"`, "in the agent's file"},
		},
		"argument": {
			s, n.namespace, append([]string{"dnsmasq"}, n.arguments("--dhcp-script=/bin/sh")...), 1,
			[]string{`dnsmasq: sidecar: argument 16 ("--dhcp-script=/bin/sh") not allowed: `, "no rule", "sidecarctl profiles"},
		},
		"namespace": {
			s, "forbidden", append([]string{"dnsmasq"}, n.arguments()...), 1,
			[]string{`dnsmasq: sidecar: network namespace "forbidden" not allowed: `, "qdhcp-*"},
		},
		"the host's namespace": {
			s, "", append([]string{"dnsmasq"}, n.arguments()...), 1,
			[]string{"dnsmasq: sidecar: network namespace of the host not allowed: "},
		},
		"its own failure": {
			s, n.namespace, append([]string{"dnsmasq"}, n.arguments("--dhcp-range=set:s,fd00::,static,255.255.255.0,1h")...), 1,
			[]string{"dnsmasq: bad command line options: "},
		},
	} {
		r := wait(t, test.shims.command(t, test.netns, "tag", test.argv[0], test.argv[1:]...))
		checkWrong(t, name, r, test.code, test.texts...)
		if got := processesWith(n.file("pid")); len(got) > 0 {
			t.Errorf("%s: processes %v are left", name, got)
		}
	}
}

func TestShimWithoutTheImageSaysSo(t *testing.T) {
	begin(t)
	s := withShimAgent(t, profileFiles()["ghost"])
	namespace(t, "t-ghost")
	r := wait(t, s.command(t, "t-ghost", "", "radvd", "--pid-file="+directory(t)+"/pid"))
	checkWrong(t, "image missing", r, 125, "localhost/no-such-image:1", "radvd: sidecar: the container could not be made: is the profile's image on the host")
}

func TestShimOnAFullDiskSaysSo(t *testing.T) {
	begin(t)
	stopAllAtEnd(t, neutron)
	s := shimsOf(t, neutron)
	n := bareNetwork(t)
	fill(t, n.directory, "host", "addn_hosts", "opts", "leases")
	r := wait(t, s.command(t, n.namespace, "", "dnsmasq", n.arguments()...))
	// The program's own exit code and words, and nothing else.
	if want := "dnsmasq: failed to open pidfile " + n.file("pid") + ": No space left on device\n"; r.code != 3 || r.err != want {
		t.Errorf("%v; want %q", r, want)
	}
	if got := processesWith(n.file("pid")); len(got) > 0 {
		t.Errorf("processes %v are left", got)
	}
}

// fill mounts a small file system on a directory, with these files, and fills it.
func fill(t *testing.T, directory string, files ...string) {
	t.Helper()
	if err := unix.Mount("tmpfs", directory, "tmpfs", 0, "size=64k,mode=755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(directory, unix.MNT_DETACH) })
	for _, name := range files {
		write(t, directory+"/"+name, "")
	}
	if err := os.WriteFile(directory+"/filler", make([]byte, 128<<10), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
}

// What haproxy writes is in a mount of its own: it is sidecar-launch that finds the
// disk full.
func TestShimOnAFullDiskForPIDFilesSaysSo(t *testing.T) {
	begin(t)
	stopAllAtEnd(t, neutron)
	s := shimsOf(t, neutron)
	n := bareNetwork(t)
	configuration, pidFile := n.metadataProxy(t)
	fill(t, filepath.Dir(pidFile))
	r := wait(t, s.command(t, n.namespace, "", "haproxy", "-f", configuration))
	checkWrong(t, "pid file", r, 125, "haproxy: sidecar: the process ran, and was stopped again: "+pidFile+": writing the new pid file: ", "no space left on device")
	if got := processesWith(configuration); len(got) > 0 {
		t.Errorf("processes %v are left", got)
	}
	if left, _ := filepath.Glob(filepath.Dir(pidFile) + "/.*"); len(left) > 0 {
		t.Errorf("files %v are left", left)
	}
}

func TestShimWithoutTheServiceSaysSo(t *testing.T) {
	begin(t)
	s := shimsOf(t, neutron)
	n := bareNetwork(t)
	s.start(t, n.namespace, "", "dnsmasq", n.quiet().Arguments...)
	sidecar := only(t, neutron)
	run(t, "systemctl", "stop", "sidecard")
	other := bareNetwork(t)
	r := wait(t, s.command(t, other.namespace, "", "dnsmasq", other.arguments()...))
	checkWrong(t, "service down", r, 1, "dnsmasq: sidecar: cannot reach the service at unix:"+s.socket)
	// A stop does not wait for the service.
	pid := int(*sidecar.Runtime.ProcessID)
	s.killed(t, "dnsmasq-kill", "15", pid)
	eventually(t, 5*time.Second, "the process is gone", func() bool { return !alive(pid) })
	run(t, "systemctl", "start", "sidecard")
	awaitDaemon(t)
	gone(t, neutron, sidecar.ID)
}

func TestShimThatIsInterruptedSaysWhatBecame(t *testing.T) {
	begin(t)
	s := withShimAgent(t, profileFiles()["mute"]) // takes its four seconds
	namespace(t, "t-mute")
	arguments := []string{"--pid-file=" + directory(t) + "/pid"}
	id := interfaces.NewID(shimAgent, "radvd", pidFileOf(arguments)).String()
	for name, test := range map[string]struct {
		signal syscall.Signal
		code   int
	}{"INT": {syscall.SIGINT, 130}, "TERM": {syscall.SIGTERM, 143}} {
		cmd := s.command(t, "t-mute", "", "radvd", arguments...)
		results := make(chan result, 1)
		go func() { results <- wait(t, cmd) }()
		eventually(t, 10*time.Second, "the start has begun", func() bool {
			now, err := as(t, shimAgent).Get(minute(t), id)
			return err == nil && now.Runtime.State == interfaces.StateStarting
		})
		// ip, env and the shim are one process: each became the next.
		if err := cmd.Process.Signal(test.signal); err != nil {
			t.Fatal(err)
		}
		r := <-results
		checkWrong(t, name, r, test.code, "radvd: sidecar: interrupted: the start of sidecar "+id+" had begun and is carried through; ")
		eventually(t, 10*time.Second, "the start is over", func() bool {
			return get(t, shimAgent, id).Runtime.State == interfaces.StateFailed
		})
	}
}
