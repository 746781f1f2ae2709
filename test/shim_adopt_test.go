//go:build testhost

package test

import (
	"os"
	"strconv"
	"testing"

	"tripleo.io/sidecar/interfaces"
)

// Whatever is left from before ends in a running, fresh sidecar.
func TestShimStartsOverWhatIsLeft(t *testing.T) {
	begin(t)
	stopAllAtEnd(t, neutron)
	s := shimsOf(t, neutron)
	for name, leave := range map[string]func(n *network, id interfaces.ID){
		"stale pid file": func(n *network, _ interfaces.ID) { write(t, n.file("pid"), "4194000\n") },
		"pid file of a living stranger": func(n *network, _ interfaces.ID) {
			write(t, n.file("pid"), strconv.Itoa(os.Getpid())+"\n")
		},
		"nonsense in the pid file": func(n *network, _ interfaces.ID) { write(t, n.file("pid"), "no number") },
		"container of the same name": func(_ *network, id interfaces.ID) {
			leaveContainer(t, id)
		},
		"failed unit": func(_ *network, id interfaces.ID) {
			run(t, "systemd-run", "-q", "--unit="+id.Unit(), "/bin/false")
		},
	} {
		n := bareNetwork(t)
		id := interfaces.NewID(neutron, "dnsmasq", n.file("pid"))
		leave(n, id)
		s.start(t, n.namespace, "", "dnsmasq", n.quiet().Arguments...)
		sidecar := get(t, neutron, id.String())
		if err := running(sidecar, n.quiet().Arguments); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if pid := int(*sidecar.Runtime.ProcessID); pid == os.Getpid() {
			t.Errorf("%s: the stranger passes for the sidecar", name)
		}
	}
}
