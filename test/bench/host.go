package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"tripleo.io/sidecar/interfaces"
)

const (
	agentFile   = "/etc/sidecar/agents.d/bench.toml"
	agentSocket = "unix:/run/sidecar/agents/bench/io.tripleo.Sidecar"
	stateRoot   = "/var/lib/neutron"
)

const agentPolicy = `profiles           = ["dnsmasq"]
network-namespaces = ["qdhcp-*"]
state-directories  = ["` + stateRoot + `"]
spool-user         = 0
`

// setUp makes the agent and starts the service.
func setUp(ctx context.Context) error {
	if err := os.WriteFile(agentFile, []byte(agentPolicy), 0o644); err != nil {
		return err
	}
	_, err := output(ctx, "systemctl", "restart", "sidecard")
	return err
}

// network is one Neutron network: a namespace and a directory.
type network struct{ name string }

func newNetwork(ctx context.Context, name string) (network, error) {
	n := network{name}
	if err := os.MkdirAll(n.dir(), 0o755); err != nil {
		return n, err
	}
	for _, file := range []string{"host", "addn_hosts", "opts", "leases"} {
		if err := os.WriteFile(filepath.Join(n.dir(), file), nil, 0o644); err != nil {
			return n, err
		}
	}
	_, err := output(ctx, "ip", "netns", "add", n.netns())
	return n, err
}

func (n network) netns() string   { return "qdhcp-" + n.name }
func (n network) dir() string     { return filepath.Join(stateRoot, "dhcp", n.name) }
func (n network) pidFile() string { return filepath.Join(n.dir(), "pid") }

// launch is the request that Neutron's command line becomes.
func (n network) launch() interfaces.LaunchParameters {
	netns := n.netns()
	return interfaces.LaunchParameters{
		Profile:          "dnsmasq",
		NetworkNamespace: &netns,
		Arguments: []string{
			"--no-hosts", "--no-resolv",
			"--pid-file=" + n.pidFile(),
			"--dhcp-hostsfile=" + filepath.Join(n.dir(), "host"),
			"--addn-hosts=" + filepath.Join(n.dir(), "addn_hosts"),
			"--dhcp-optsfile=" + filepath.Join(n.dir(), "opts"),
			"--dhcp-leasefile=" + filepath.Join(n.dir(), "leases"),
			"--dhcp-match=set:ipxe,175", "--dhcp-userclass=set:ipxe6,iPXE",
			"--local-service", "--bind-dynamic",
			"--dhcp-range=set:subnet-1,192.0.2.0,static,255.255.255.0,86400s",
			"--dhcp-lease-max=256", "--conf-file=/dev/null", "--domain=openstacklocal",
		},
	}
}

// waitForPID waits until the pid file has a number.
func (n network) waitForPID(ctx context.Context) error {
	for ctx.Err() == nil {
		if text, err := os.ReadFile(n.pidFile()); err == nil && bytes.HasSuffix(text, []byte("\n")) {
			return nil
		}
		time.Sleep(500 * time.Microsecond)
	}
	return fmt.Errorf("no pid file: %w", ctx.Err())
}

func output(ctx context.Context, argv ...string) (string, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, stderr.String())
	}
	return string(text), nil
}
