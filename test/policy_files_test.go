//go:build testhost

package test

import (
	"os"
	"path/filepath"
	"testing"

	"tripleo.io/sidecar/interfaces"
)

const (
	policyDirectory  = "/etc/sidecar"
	exampleAgents    = "/usr/share/doc/sidecar/examples/agents.d"
	stateDirectory   = "/var/lib/tester"
	neutronDirectory = "/var/lib/neutron"
	image            = "localhost/neutron-sidecars:1"
)

// The agents of the tests, beside the shipped examples.
const (
	neutron = "neutron-dhcp" // may do what a real one may
	tester  = "tester"       // may launch the profiles of the tests
	limited = "limited"      // may have two sidecars
	pocket  = "pocket"       // has stand-ins
	onHost  = "on-host"      // may use the host's own network
)

var agentFiles = map[string]string{
	tester: `profiles = ["dnsmasq", "probe", "phoenix", "mute", "stubborn", "ghost", "looker", "chatty", "gated", "relapsing", "mended", "undying", "patient", "hostly", "tardy"]
network-namespaces = ["t-*"]
state-directories = ["/var/lib/tester"]
max-sidecars = 4000
`,
	limited: `profiles = ["probe"]
network-namespaces = ["t-*"]
state-directories = ["/var/lib/tester"]
max-sidecars = 2
`,
	pocket: `profiles = ["probe"]
network-namespaces = ["t-*"]
state-directories = ["/var/lib/tester"]
stand-ins = true
spool-user = 4711
`,
	onHost: `profiles = ["probe"]
network-namespaces = ["t-*"]
host-network = true
state-directories = ["/var/lib/tester"]
`,
}

// The profiles of the tests run a shell as the payload's first process. Such a
// one gets only those signals that it has a handler for (pid_namespaces(7)).
const (
	takePIDFile = `for a; do case $a in --pid-file=*) f=${a#*=};; --exit=*) echo "told to exit" >&2; exit ${a#*=};; esac; done; `
	idle        = `while :; do sleep 3600 & wait; done`
	untilTerm   = `trap "exit 0" TERM; `
	// A test has one exit by itself: see crash. One that is killed is never restarted.
	untilCrash = `trap "exit 9" USR1; `
	// Some programs handle signals and exit with another code than 0.
	untilTold = `trap "exit 143" TERM; trap "exit 3" INT; `
	writePID  = `echo $$ >$f; `
	// A test says when it may become ready: see openGate.
	gate = `until [ -e ${f%/*}/` + gateFile + ` ]; do sleep 0.1; done; `
	// The first start finds the gate open. When a test has shut it, each restart fails,
	// after so long that systemd goes on without an end: with five starts within 10 s
	// it would give up (DefaultStartLimitBurst= in systemd-system.conf(5)).
	relapse = `[ -e ${f%/*}/` + gateFile + ` ] || { sleep 2; echo "relapsed" >&2; exit 7; }; `
	// As many lines as nobody wants to read.
	chatter = `i=0; while [ $i -lt 20000 ]; do echo "line $i"; i=$((i+1)); done; `
	// The host's /etc is known by its passwd, and by a file that only a test
	// puts there.
	refuseEtc = `for d in ${f%/*} ${f%/*}/..; do [ ! -e $d/passwd ] && [ ! -e $d/ETC-OF-THE-HOST ] || { echo "this is /etc" >&2; exit 66; }; done; `
)

// gateFile lies beside the pid file.
const gateFile = "go"

// openGate lets a gated one become ready.
func openGate(t testing.TB, p interfaces.LaunchParameters) {
	t.Helper()
	write(t, filepath.Join(filepath.Dir(pidFileOf(p.Arguments)), gateFile), "")
}

// shutGate keeps one from becoming ready again.
func shutGate(t testing.TB, p interfaces.LaunchParameters) {
	t.Helper()
	if err := os.Remove(filepath.Join(filepath.Dir(pidFileOf(p.Arguments)), gateFile)); err != nil {
		t.Fatal(err)
	}
}

// profile returns the text of a profile's file.
func profile(image, script, timeout, restart string) string {
	return `description = "for tests"
image = "` + image + `"
command = ["/bin/sh", "-c", '''` + script + `''', "payload"]
instance = "--pid-file"
ready = { pid-file = "--pid-file", timeout = "` + timeout + `" }
restart = "` + restart + `"
capabilities = ["NET_RAW"]
arguments = ["", "--pid-file={path:rw}", "--file={path:ro}", "--exit={int}", "--text={text}", "-t {text}"]
`
}

func profileFiles() map[string]string {
	payload := takePIDFile + untilTerm + writePID + idle
	payloadTold := takePIDFile + writePID + idle
	const mendedTwice = "restart-delay = \"2s\"\nrestart-limit = \"2/10m\"\n"
	return map[string]string{
		"probe":     profile(image, payload, "30s", "no"),
		"phoenix":   profile(image, untilCrash+payload, "30s", "always"),
		"mended":    profile(image, untilCrash+untilTold+payloadTold, "30s", "on-failure") + mendedTwice,
		"undying":   profile(image, untilCrash+untilTold+payloadTold, "30s", "always") + mendedTwice,
		"patient":   profile(image, untilCrash+payload, "30s", "on-failure") + "restart-delay = \"1h\"\n",
		"hostly":    profile(image, payload, "30s", "on-failure") + "pid-namespace = \"host\"\n",
		"mute":      profile(image, untilTerm+idle, "4s", "no"),
		"tardy":     profile(image, untilTerm+idle, "4s", "on-failure"),
		"gated":     profile(image, takePIDFile+untilTerm+gate+writePID+idle, "120s", "no"),
		"relapsing": profile(image, takePIDFile+untilTerm+relapse+writePID+idle, "30s", "always"),
		"stubborn":  profile(image, takePIDFile+writePID+idle, "30s", "no"),
		"ghost":     profile("localhost/no-such-image:1", payload, "30s", "no"),
		"chatty":    profile(image, takePIDFile+untilTerm+chatter+writePID+idle, "30s", "no"),
		"looker":    profile(image, takePIDFile+refuseEtc+untilTerm+writePID+idle, "30s", "no"),
	}
}

// installPolicy writes the policy files of the tests.
func installPolicy() error {
	for _, name := range []string{neutron, "neutron-l3", "neutron-ovn-metadata"} {
		if _, err := output("install", "-m0644", "-t", policyDirectory+"/agents.d", filepath.Join(exampleAgents, name+".toml")); err != nil {
			return err
		}
	}
	for name, text := range agentFiles {
		if err := writePolicy("agents.d", name, text); err != nil {
			return err
		}
	}
	for name, text := range profileFiles() {
		if err := writePolicy("profiles.d", name, text); err != nil {
			return err
		}
	}
	return nil
}

func policyFile(dir, name string) string {
	return filepath.Join(policyDirectory, dir, name+".toml")
}

// writePolicy writes a policy file, and into a profile the engine of the test.
func writePolicy(dir, name, text string) error {
	if dir == "profiles.d" {
		text = engineLine(usedEngine) + text
	}
	return os.WriteFile(policyFile(dir, name), []byte(text), 0o644)
}
