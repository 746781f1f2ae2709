//go:build testhost

package test

import (
	"os"
	"strings"
	"testing"

	"tripleo.io/sidecar/spool"
)

// byHand is an agent without a program of ours, as root, in a mount namespace like
// that which sidecar-spool(8) tells to make.
const byHand = `
set -e
mkdir -p /tmp/spool
mount --bind "$0" /tmp/spool
mount -o remount,bind,ro /tmp/spool
mount --bind "$0/requests" /tmp/spool/requests
cd /tmp/spool
for place in claimed refused results .; do
	if touch $place/x 2>/dev/null; then echo "$place is writable"; fi
done
name=00112233445566778899aabbccddeeff.json
echo '{"method":"io.tripleo.Sidecar.List","parameters":{"profile":"probe"}}' >requests/tmp/$name
sync requests/tmp/$name
mv requests/tmp/$name requests/new/
for i in $(seq 2000); do
	if [ -e results/$name ]; then cat results/$name; exit; fi
	sleep 0.05
done
echo 'no result' >&2
exit 1
`

func TestSpoolByHandInAReadOnlyMount(t *testing.T) {
	begin(t)
	withSpool(t)
	got := run(t, "unshare", "--mount", "--propagation", "private", "sh", "-c", byHand, spoolOnHost)
	if want := `{"parameters":{"sidecars":[]}}`; strings.TrimSpace(got) != want {
		t.Errorf("answered %s, want %s", got, want)
	}
}

// TestSpoolFileSystemOfItsOwn shows that a spool can be one, so that its agent fills
// nobody else's.
func TestSpoolFileSystemOfItsOwn(t *testing.T) {
	begin(t)
	if err := os.MkdirAll(spoolOnHost, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", spoolOnHost)
	t.Cleanup(func() { run(t, "umount", "-l", spoolOnHost); run(t, "rmdir", spoolOnHost) })
	namespace(t, "t-spool")
	withPolicy(t, "agents.d", spooled, spooledAgent)
	run(t, "systemctl", "start", watchUnit)
	t.Cleanup(func() {
		run(t, "systemctl", "stop", watchUnit, serverUnit, "sidecar-spool-directory@"+spooled+".service")
	})
	stopAllAtEnd(t, spooled)
	c := &spool.Client{Directory: spoolOnHost}
	if _, err := c.Launch(minute(t), probe(t, "t-spool")); err != nil {
		t.Error(err)
	}
}
