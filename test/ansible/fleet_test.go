//go:build testhost

package ansible

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"tripleo.io/sidecar/internal/testhost"
)

// Made by scripts/ansible-test.
const (
	packages    = "../../build/ansible/packages" // a directory for each version
	collections = "../../build/ansible/collections"
	playbooks   = collections + "/ansible_collections/tripleo/sidecar/playbooks/"
)

// node is a host that Ansible reaches over ssh, at an address of its own.
type node struct {
	*testhost.Host
	name string
}

// fleet is three hosts, and Ansible on this machine, which is their controller.
type fleet struct {
	nodes     []*node
	directory string // of the controller: configuration, inventory, keys
}

var releases = []string{"trixie", "bookworm", "trixie"}

func bootFleet(t *testing.T) *fleet {
	t.Helper()
	if os.Getenv("SIDECAR_ANSIBLE_TEST") == "" {
		t.Fatal("this test gives its network namespace addresses: run it with make ansible-test")
	}
	f := &fleet{directory: t.TempDir(), nodes: make([]*node, len(releases))}
	outer(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f.directory+"/authorized_keys")
	spec, err := testhost.ReadSpec("../ansible.toml")
	if err != nil {
		t.Fatal(err)
	}
	var booting sync.WaitGroup
	for i, release := range releases {
		booting.Go(func() {
			host, err := testhost.Boot(t.Context(), testhost.Config{Release: release, Spec: spec, Log: os.Stderr, Quiet: true})
			if err != nil {
				t.Error(err)
				return
			}
			f.nodes[i] = &node{Host: host, name: fmt.Sprintf("node%d", i+1)}
		})
	}
	booting.Wait()
	for _, n := range f.nodes {
		if n != nil {
			t.Cleanup(func() { _ = n.Close() })
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	f.connect(t)
	return f
}

// connect gives each host a link to the controller, and Ansible its inventory.
func (f *fleet) connect(t *testing.T) {
	t.Helper()
	inventory, known := "[sidecar]\n", ""
	for i, n := range f.nodes {
		address := fmt.Sprintf("192.0.2.%d", 11+i)
		outer(t, "ip", "link", "add", n.name, "type", "veth", "peer", "name", "up"+n.name)
		if err := n.Plug(t.Context(), "up"+n.name); err != nil {
			t.Fatal(err)
		}
		outer(t, "ip", "address", "add", "192.0.2.1", "peer", address, "dev", n.name)
		outer(t, "ip", "link", "set", n.name, "up")
		n.run(t, "ip", "address", "add", address, "peer", "192.0.2.1", "dev", "up"+n.name)
		n.run(t, "ip", "link", "set", "up"+n.name, "up")
		if err := n.CopyIn(t.Context(), f.directory+"/authorized_keys.pub", "/root/.ssh"); err != nil {
			t.Fatal(err)
		}
		n.run(t, "sh", "-c", "chmod 700 /root/.ssh && mv /root/.ssh/authorized_keys.pub /root/.ssh/authorized_keys && systemctl start ssh")
		known += address + " " + n.run(t, "cat", "/etc/ssh/ssh_host_ed25519_key.pub") + "\n"
		inventory += n.name + " ansible_host=" + address + " ansible_python_interpreter=/usr/bin/python3\n"
	}
	f.write(t, "hosts", inventory)
	f.write(t, "known_hosts", known)
	f.write(t, "ansible.cfg", `[defaults]
inventory = hosts
remote_user = root
collections_path = `+absolute(t, collections)+`
private_key_file = `+f.directory+`/authorized_keys
nocows = true
[ssh_connection]
pipelining = true
ssh_args = -F /dev/null -o UserKnownHostsFile=`+f.directory+`/known_hosts -o ControlMaster=auto -o ControlPersist=20s
`)
}

func (f *fleet) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(f.directory, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// play is the outcome of a playbook.
type play struct {
	output string
	failed bool
}

// play runs a playbook of the collection with the variables in vars.yml.
func (f *fleet) play(t *testing.T, playbook string, arguments ...string) play {
	t.Helper()
	return f.playFile(t, absolute(t, playbooks+playbook+".yml"), arguments...)
}

// playFile runs a playbook of any path.
func (f *fleet) playFile(t *testing.T, path string, arguments ...string) play {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, "ansible-playbook", append([]string{"--extra-vars=@vars.yml", path}, arguments...)...)
	cmd.Dir = f.directory
	cmd.Env = append(os.Environ(), "HOME="+f.directory, "ANSIBLE_HOME="+f.directory+"/.ansible", "ANSIBLE_CONFIG="+f.directory+"/ansible.cfg", "LC_ALL=C.UTF-8", "ANSIBLE_NOCOLOR=1")
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.WaitDelay = 5 * time.Second
	start := time.Now()
	err := cmd.Run()
	t.Logf("ansible-playbook %s %v: %v, %.0f s", filepath.Base(path), arguments, err, time.Since(start).Seconds())
	if ctx.Err() != nil {
		t.Fatalf("%s does not end:\n%s", path, &output)
	}
	return play{output: output.String(), failed: err != nil}
}

// mustPlay fails the test if the playbook fails.
func (f *fleet) mustPlay(t *testing.T, playbook string, arguments ...string) play {
	t.Helper()
	p := f.play(t, playbook, arguments...)
	if p.failed {
		t.Fatalf("%s %v has failed:\n%s", playbook, arguments, p.output)
	}
	return p
}

// mustFail fails the test if the playbook does not fail, or for another reason.
func (f *fleet) mustFail(t *testing.T, reason, playbook string, arguments ...string) play {
	t.Helper()
	p := f.play(t, playbook, arguments...)
	if !p.failed || !strings.Contains(p.output, reason) {
		t.Fatalf("%s %v: want a failure with %q, got\n%s", playbook, arguments, reason, p.output)
	}
	return p
}

var recap = regexp.MustCompile(`(?m)^(\w+) +: ok=\d+ +changed=(\d+)`)

// changes returns how many tasks have changed something, by host.
func (p play) changes() map[string]string {
	changes := map[string]string{}
	for _, line := range recap.FindAllStringSubmatch(p.output, -1) {
		changes[line[1]] = line[2]
	}
	return changes
}

// run runs a command in the host, and fails the test if the command fails.
func (n *node) run(t *testing.T, argv ...string) string {
	t.Helper()
	out, code := n.try(t, argv...)
	if code != 0 {
		t.Fatalf("%s: %v: exit code %d\n%s", n.name, argv, code, out)
	}
	return out
}

func (n *node) try(t *testing.T, argv ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var out bytes.Buffer
	code, err := n.Run(ctx, testhost.Command{Args: argv, Stdout: &out, Stderr: &out})
	if err != nil {
		t.Fatalf("%s: %v: %v", n.name, argv, err)
	}
	return strings.TrimSpace(out.String()), code
}

func (n *node) has(t *testing.T, path string) bool {
	t.Helper()
	_, code := n.try(t, "test", "-e", path)
	return code == 0
}

func outer(t *testing.T, argv ...string) {
	t.Helper()
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
}
