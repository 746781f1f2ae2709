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

	"golang.org/x/sync/errgroup"

	"tripleo.io/sidecar/interfaces"
)

const (
	agentFile   = "/etc/sidecar/agents.d/bench.toml"
	agentSocket = "unix:/run/sidecar/agents/bench/io.tripleo.Sidecar"
	stateRoot   = "/var/lib/neutron"
	daemonPath  = "/usr/libexec/sidecar/sidecard"
	startsFile  = "/run/systemd/system/sidecard.service.d/bench.conf"
)

// writeAgent writes the agent's file.
func writeAgent(profiles ...string) error {
	text := fmt.Sprintf(`profiles           = ["%s"]
network-namespaces = ["qdhcp-*"]
state-directories  = ["%s"]
spool-user         = 0
max-sidecars       = 4000
`, strings.Join(profiles, `", "`), stateRoot)
	return os.WriteFile(agentFile, []byte(text), 0o644)
}

// writeStarts has the service start so many units at once, if starts is not 0.
func writeStarts(ctx context.Context, starts int) error {
	if starts == 0 {
		return nil
	}
	text := fmt.Sprintf("[Service]\nExecStart=\nExecStart=%s -starts %d\n", daemonPath, starts)
	if err := os.MkdirAll(filepath.Dir(startsFile), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(startsFile, []byte(text), 0o644); err != nil {
		return err
	}
	_, err := output(ctx, "systemctl", "daemon-reload")
	return err
}

// network is one Neutron network: a namespace and a directory.
type network struct{ name string }

// newNetworks makes networks with these numbers, from included and to not.
func newNetworks(ctx context.Context, name string, from, to int) ([]network, error) {
	networks := make([]network, to-from)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(callers)
	for i := range networks {
		group.Go(func() (err error) {
			networks[i], err = newNetwork(ctx, fmt.Sprintf("%s-%d", name, from+i))
			return err
		})
	}
	return networks, group.Wait()
}

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
func (n network) launch(profile string) interfaces.LaunchParameters {
	netns := n.netns()
	return interfaces.LaunchParameters{
		Profile:          profile,
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

// waitForPID looks, with a pause between, until the pid file has a number.
func (n network) waitForPID(ctx context.Context, pause time.Duration) error {
	for ctx.Err() == nil {
		if text, err := os.ReadFile(n.pidFile()); err == nil && bytes.HasSuffix(text, []byte("\n")) {
			return nil
		}
		time.Sleep(pause)
	}
	return fmt.Errorf("%s: not written: %w", n.pidFile(), ctx.Err())
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
