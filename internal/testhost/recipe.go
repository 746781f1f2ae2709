package testhost

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
)

// treeVersion is raised when the way a tree is built changes, so that old
// trees are not taken for new ones.
const treeVersion = 1

// basePackages make a host that boots and runs containers. netavark is there
// because podman 4.3 looks for a network backend on every call, and falls
// back to another one with warnings.
var basePackages = []string{
	"systemd", "systemd-sysv", "dbus", "polkitd", "libpam-systemd",
	"podman", "runc", "crun", "conmon", "netavark",
	"iproute2", "procps", "util-linux", "tar",
}

// baseMask lists units of the base that have nothing to do in a host without
// hardware, terminals and network, or that would wake up during a test.
var baseMask = []string{
	"apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer",
	"fstrim.timer", "e2scrub_all.timer", "e2scrub_reap.service",
	"console-getty.service", "getty@tty1.service",
	"systemd-modules-load.service", "systemd-pstore.service",
	"podman.service", "podman.socket", "podman-restart.service",
	"podman-auto-update.service", "podman-auto-update.timer",
	"podman-clean-transient.service",
	"netavark-dhcp-proxy.service", "netavark-dhcp-proxy.socket",
	"netavark-firewalld-reload.service",
}

// containersConf is the host's /etc/containers/containers.conf.
//
//go:embed containers.conf
var containersConf []byte

// imageScript makes one image, inside the host.
//
//go:embed mkimage.sh
var imageScript string

// treeName names the tree of a configuration by all that it depends on.
func treeName(c Config) string {
	return "tree-" + c.Release + "-" + hash(treeVersion, c.Spec.packages(c.Release))
}

// storeName names the podman storage that holds a configuration's images.
func storeName(c Config) string {
	return "images-" + c.Release + "-" +
		hash(treeName(c), c.Spec.Images, imageScript, string(containersConf))
}

// hash returns twelve hex digits that stand for parts. Maps have no order and
// must not be among them.
func hash(parts ...any) string {
	sum := sha256.New()
	fmt.Fprintf(sum, "%#v", parts)
	return hex.EncodeToString(sum.Sum(nil)[:6])
}
