//go:build testhost

package test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// privileges say what an agent may do.
type privileges struct {
	options    []string // of podman
	become     []string // command that becomes the agent's user; empty: it is root
	conf       string   // of Neutron, to match
	rootHelper string   // of Neutron; empty: it needs none
}

// confined is the least: what Neutron itself needs for "ip netns exec" and to set up
// devices. Left to itself, its privsep asks for more, and does not start without.
func confined() privileges {
	return privileges{
		options: []string{"--security-opt=no-new-privileges", "--cap-drop=all", "--cap-add=SYS_ADMIN,NET_ADMIN"},
		conf:    "[privsep]\ncapabilities = CAP_SYS_ADMIN, CAP_NET_ADMIN\n",
	}
}

// usual is what privsep asks for by itself, and KILL: neutron-netns-cleanup looks
// into processes (SYS_PTRACE), and an agent without kill scripts signals processes of
// other users. Privsep's children regain KILL when they are executed, which
// no-new-privileges would forbid.
func usual() privileges {
	return privileges{
		options: []string{"--cap-drop=all", "--cap-add=SYS_ADMIN,NET_ADMIN,DAC_OVERRIDE,DAC_READ_SEARCH,SYS_PTRACE,KILL"},
	}
}

// neutronAgent is an agent in its container, with Neutron's own code in it.
type neutronAgent struct {
	identity   string // of its socket
	root       string // of its container
	privileges privileges
	command    *exec.Cmd
	requests   io.WriteCloser
	answers    chan neutronAnswer
}

type neutronAnswer struct {
	Result json.RawMessage
	Error  string
}

// processState is what Neutron knows about one of its processes.
type processState struct {
	Active bool
	PID    int
}

// startNeutron makes an agent's container and waits until its Neutron is there.
func startNeutron(t *testing.T, identity string, p privileges) *neutronAgent {
	t.Helper()
	// On a host that has just booted it is not there yet.
	makeDirectory(t, "/run/netns")
	a := &neutronAgent{identity: identity, root: agentImage(t, p), privileges: p}
	a.start(t)
	t.Cleanup(func() { a.kill(t) })
	return a
}

// start starts the container.
func (a *neutronAgent) start(t *testing.T) {
	t.Helper()
	a.command = exec.Command("podman", a.podman(t)...)
	stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	a.command.Stderr = stderr
	stdout, err := a.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if a.requests, err = a.command.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := a.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if text, _ := os.ReadFile(stderr.Name()); t.Failed() {
			t.Logf("the agent's log:\n%s", text)
		}
	})
	a.answers = make(chan neutronAnswer)
	go readAnswers(stdout, a.answers)
	if _, err := a.answer(5 * time.Minute); err != nil {
		t.Fatalf("the agent does not start: %v", err)
	}
}

// podman returns the arguments that start the container: not privileged, with no
// socket of an engine, and of the host only what an agent needs.
func (a *neutronAgent) podman(t testing.TB) []string {
	t.Helper()
	argv := []string{
		"run", "-i", "--rm", "--replace", "--name", a.container(), "--log-driver=none", "--network=host", "--pid=host",
		"--volume=/run/sidecar/agents/" + a.identity + ":/run/sidecar:ro",
		"--volume=/var/lib/neutron:/var/lib/neutron",
		"--volume=/run/netns:/run/netns:rshared",
		"--volume=/usr/sbin:" + realOfPod + ":ro",
		"--security-opt=apparmor=" + agentAppArmor(t), // podman's profile denies mount(2): no "ip netns exec"
	}
	argv = append(argv, a.privileges.options...)
	for _, dir := range []string{"bin", "lib", "lib64", "share"} {
		argv = append(argv, "--volume=/usr/"+dir+":/usr/"+dir+":ro")
	}
	argv = append(append(argv, "--rootfs", a.root), a.privileges.become...)
	return append(argv, "/usr/bin/python3", "/opt/agent/agent.py", "--config-file", "/etc/neutron/neutron.conf")
}

func (a *neutronAgent) container() string { return "agent-" + a.identity }

// readAnswers passes answers on until the agent ends.
func readAnswers(from io.Reader, to chan<- neutronAnswer) {
	defer close(to)
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var answer neutronAnswer
		if err := json.Unmarshal(lines.Bytes(), &answer); err != nil {
			answer.Error = fmt.Sprintf("%v: %q", err, lines.Text())
		}
		to <- answer
	}
}

// answer waits for the agent's next answer.
func (a *neutronAgent) answer(limit time.Duration) (json.RawMessage, error) {
	select {
	case answer, ok := <-a.answers:
		if !ok {
			return nil, io.ErrUnexpectedEOF
		}
		if answer.Error != "" {
			return nil, fmt.Errorf("%s", answer.Error)
		}
		return answer.Result, nil
	case <-time.After(limit):
		return nil, os.ErrDeadlineExceeded
	}
}

// arguments of a request by name.
type arguments map[string]any

// try asks the agent to do something.
func (a *neutronAgent) try(what string, with arguments) (json.RawMessage, error) {
	request := arguments{"do": what}
	for name, value := range with {
		request[name] = value
	}
	if err := json.NewEncoder(a.requests).Encode(request); err != nil {
		return nil, err
	}
	return a.answer(5 * time.Minute)
}

// do asks the agent for what must succeed, and returns what it says about the process.
func (a *neutronAgent) do(t testing.TB, what string, with arguments) processState {
	t.Helper()
	result, err := a.try(what, with)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	var state processState
	if len(result) > 0 && result[0] == '{' {
		if err := json.Unmarshal(result, &state); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	return state
}

// kill kills the first process of the container, and with it all others in it.
func (a *neutronAgent) kill(t testing.TB) {
	t.Helper()
	text, err := output("podman", "inspect", "--format={{.State.Pid}}", a.container())
	if pid, convErr := strconv.Atoi(text); err == nil && convErr == nil && pid > 0 {
		err = syscall.Kill(pid, syscall.SIGKILL)
	}
	if err != nil {
		t.Errorf("kill the agent: %v", err)
	}
	_ = a.command.Wait() // it was killed
	run(t, "podman", "rm", "-f", "-i", "-t", "0", a.container())
}
