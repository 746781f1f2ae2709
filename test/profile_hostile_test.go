//go:build testhost

package test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

// TestShimHostilePrivateMounts exchanges all the time what lies around a pid file
// that is translated out of a private mount: its directory and the one above with
// links to a directory of the host that has a file of that name, the file itself
// with a link and a fifo. The host's file is neither removed nor written.
func TestShimHostilePrivateMounts(t *testing.T) {
	begin(t)
	agent, r := withL3(t), newRouter(t)
	_, socket := metadata(t)
	configuration := place(t, "ns-metadata-proxy") + "/" + r.id + ".conf"
	dir := place(t, "external/pids")
	pid := dir + "/" + r.id + ".pid.haproxy"
	write(t, configuration, fmt.Sprintf(metadataConfiguration, pid, socket, "one"))

	victims := "/etc/victims/pids"
	victim := victims + "/" + r.id + ".pid.haproxy"
	run(t, "mkdir", "-p", victims)
	write(t, victim, "of the host")
	hostile := place(t, "hostile")
	run(t, "ln", "-s", victims, hostile+"/pids")
	run(t, "ln", "-s", "/etc/victims", hostile+"/external")
	run(t, "ln", "-s", victim, hostile+"/link")
	run(t, "mkfifo", hostile+"/fifo")
	t.Cleanup(func() { run(t, "rm", "-rf", "/etc/victims", neutronDirectory+"/external") })

	rounds := swapping(t, func() {
		time.Sleep(rand.N(40 * time.Millisecond))
		pair := [][2]string{
			{dir, hostile + "/pids"},
			{neutronDirectory + "/external", hostile + "/external"},
			{pid, hostile + "/link"},
			{pid, hostile + "/fifo"},
		}[rand.N(4)]
		exchange := func() { _ = unix.Renameat2(unix.AT_FDCWD, pair[0], unix.AT_FDCWD, pair[1], unix.RENAME_EXCHANGE) }
		exchange()
		time.Sleep(rand.N(100 * time.Microsecond))
		exchange()
	})
	launches, good := 0, 0
	for ; launches < 8 || good == 0 && launches < 20; launches++ {
		s, err := as(t, agent).Launch(minute(t), interfaces.LaunchParameters{
			Profile: "haproxy", NetworkNamespace: &r.namespace, Arguments: []string{"-f", configuration},
		})
		if err == nil {
			good++
			for target := range mountsOf(t, int(*s.Runtime.ProcessID)) {
				if strings.HasPrefix(target, "/etc/victims") {
					t.Errorf("it has something mounted on %s", target)
				}
			}
		} else if !errors.Is(err, interfaces.ErrLaunchFailed) && !errors.Is(err, interfaces.ErrNotReady) {
			t.Errorf("it fails with %v", err)
		}
	}
	stopAllAtEnd(t, agent)
	t.Logf("%d rounds, %d of %d launches worked", rounds(), good, launches)
	if good == 0 {
		t.Error("no launch has succeeded: nothing was tried")
	}
	text, err := os.ReadFile(victim)
	if string(text) != "of the host" {
		t.Errorf("the host's file holds %q, %v", text, err)
	}
	if diff := cmp.Diff([]string{r.id + ".pid.haproxy"}, namesIn(t, victims)); diff != "" {
		t.Errorf("the host's directory has changed (-before +after):\n%s", diff)
	}
}
