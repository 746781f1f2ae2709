//go:build testhost

package test

import (
	"io"
	"net"
	"net/http"
	"os"
	"testing"
)

// TestNeutronMetadata runs the metadata proxies of Neutron's two drivers, and asks
// for metadata through them, as a machine does.
func TestNeutronMetadata(t *testing.T) {
	begin(t)
	for identity, test := range map[string]struct {
		prefix, header string
		ovn            bool
	}{
		"neutron-dhcp":         {"qdhcp-", "X-Neutron-Network-ID", false},
		"neutron-ovn-metadata": {"ovnmeta-", "X-OVN-Network-ID", true},
	} {
		t.Run(identity, func(t *testing.T) {
			a := startNeutron(t, identity, confined())
			stopAllAtEnd(t, identity)
			n := inNamespace(t, test.prefix)
			options := func(step string) arguments {
				return arguments{"step": step, "uuid": n.uuid, "namespace": n.namespace, "ovn": test.ovn}
			}
			proxy := a.do(t, "metadata", options("spawn"))
			id := a.isSidecar(t, proxy, n.uuid)
			// An agent that is started again makes a new socket of the same name.
			for range 2 {
				serveMetadata(t, test.header)
				text := run(t, "ip", "netns", "exec", n.namespace, "busybox", "wget", "-q", "-O-", "http://127.0.0.1/")
				if text != n.uuid {
					t.Errorf("the agent was told of network %q, want %q", text, n.uuid)
				}
			}
			if left := a.do(t, "metadata", options("destroy")); left.Active {
				t.Errorf("after destroy: %+v", left)
			}
			gone(t, identity, id)
		})
	}
}

// serveMetadata makes the agent's end of the proxies again: it answers with what the
// proxy has put into a header.
func serveMetadata(t *testing.T, header string) {
	t.Helper()
	const socket = neutronDirectory + "/metadata_proxy"
	_ = os.Remove(socket) // of the last one
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	// An agent that runs as root, like this one, needs metadata_proxy_socket_mode = all:
	// the proxy is not root.
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get(header)) // the test sees what came
	})}
	go func() { _ = server.Serve(listener) }() // ends with the listener
	t.Cleanup(func() {
		server.Close()
		_ = os.Remove(socket)
	})
}
