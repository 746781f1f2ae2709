//go:build testhost

package test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// metadataConfiguration is what Neutron writes (neutron/agent/metadata/driver_base.py):
// the pid file, the agent's socket, and the network.
const metadataConfiguration = `
global
    log         /dev/log local0 info
    log-tag     haproxy-metadata-proxy-%[3]s
    user        nobody
    group       nogroup
    maxconn     1024
    pidfile     %[1]s
    daemon

defaults
    log global
    mode http
    option httplog
    option dontlognull
    option http-server-close
    option forwardfor
    retries                 3
    timeout http-request    30s
    timeout connect         30s
    timeout client          32s
    timeout server          32s
    timeout http-keep-alive 30s

listen listener
    bind 0.0.0.0:80

    server metadata %[2]s
    http-request del-header X-Neutron-Router-ID
    http-request set-header X-Neutron-Network-ID %[3]s
`

// metadata serves on the socket of a metadata agent and answers with the network
// that a request is from. It ends when it is closed.
func metadata(t *testing.T) (*http.Server, string) {
	t.Helper()
	socket := neutronDirectory + "/metadata_proxy"
	_ = os.Remove(socket)
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, r.Header.Get("X-Neutron-Network-ID"))
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return server, socket
}

// newHaproxy returns a metadata proxy, and what writes its configuration.
func newHaproxy(t *testing.T) (k kind, configure func(network string)) {
	t.Helper()
	agent, r := withL3(t), newRouter(t)
	configuration := place(t, "ns-metadata-proxy") + "/" + r.id + ".conf"
	pid := place(t, "external/pids") + "/" + r.id + ".pid.haproxy"
	configure = func(network string) {
		write(t, configuration, fmt.Sprintf(metadataConfiguration, pid, neutronDirectory+"/metadata_proxy", network))
	}
	configure("one")
	return kind{
		agent: agent, profile: "haproxy", namespace: r.namespace, processes: 2,
		pidFiles: []string{pid}, arguments: []string{"-f", configuration},
		capabilities: []string{"NET_BIND_SERVICE"},
	}, configure
}

func TestProfileHaproxy(t *testing.T) {
	begin(t)
	k, configure := newHaproxy(t)
	agent, pid := k.agent, k.pidFiles[0]
	server, _ := metadata(t)
	write(t, place(t, "ha_confs")+"/secret", "of somebody else")
	asks := func() string {
		const get = `exec 3<>/dev/tcp/127.0.0.1/80; printf 'GET / HTTP/1.0\r\n\r\n' >&3; timeout 5 tail -n 1 <&3`
		text, err := output("ip", "netns", "exec", k.namespace, "bash", "-c", get)
		if err != nil {
			return err.Error()
		}
		return text
	}
	s := k.launch(t)
	if got := asks(); got != "one" {
		t.Errorf("the agent was asked for %q", got)
	}
	if seen, err := os.ReadDir(fmt.Sprintf("/proc/%d/root%s/ha_confs", *s.Runtime.ProcessID, neutronDirectory)); err != nil || len(seen) > 0 {
		t.Errorf("it sees files of other side processes: %v, %v", seen, err)
	}
	_ = server.Close()
	metadata(t) // the agent was restarted
	if got := asks(); got != "one" {
		t.Errorf("the agent, started again, was asked for %q", got)
	}
	before := k.worker(t, pid)
	configure("two")
	k.reloads(t, s)
	eventually(t, 5*time.Second, "the configuration is the new one", func() bool { return asks() == "two" })
	eventually(t, 5*time.Second, "the old worker has gone", func() bool { return !alive(before) })
	k.check(t, get(t, agent, s.ID))
	k.ends(t, s, syscall.SIGTERM)
	k.comesBack(t)
}

// worker returns the process that is not in the pid file.
func (k kind) worker(t *testing.T, pidFile string) int {
	t.Helper()
	master, err := readPID(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range processesWith(strings.Join(k.arguments, " ")) {
		if pid != master {
			return pid
		}
	}
	t.Fatal("no worker")
	return 0
}
