package launcher

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"tripleo.io/sidecar/service/netns/netnstest"
)

func TestLaunchCleansUpAfterAnEarlierRun(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	r := newRig(t)
	netnstest.Make(t, r.Namespaces.Path+"/qdhcp-1")
	p := r.plan()
	p.Context.NetworkNamespace = new("qdhcp-1")
	must(t, r.Prepare(p))
	// A mount on top of a pin, as if two runs had been at it.
	must(t, unix.Mount(r.state, r.pin("mounts/0"), "", unix.MS_BIND, ""))
	p.Mounts[0].Path = "dhcp"
	must(t, r.Prepare(p))
	if inode(t, r.pin("mounts/0")) != inode(t, r.state+"/dhcp") {
		t.Error("the pin is the one of the earlier run")
	}
	must(t, r.Clean(testID))
	r.checkNothingLeft(t)
	if _, err := os.Stat(r.state + "/dhcp/1/marker"); err != nil {
		t.Errorf("cleaning reached into what was pinned: %v", err)
	}
}

func TestLaunchCleanRefusesWhatIsNotItsOwn(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	r := newRig(t)
	for _, id := range []string{"", ".", "..", "../..", "a/b", "a.b.c"} {
		if err := r.Clean(id); err == nil {
			t.Errorf("id %q accepted", id)
		}
	}
	must(t, os.MkdirAll(r.Base, 0o700))
	must(t, os.Symlink(r.state, r.Base+"/"+testID))
	if err := r.Clean(testID); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("a link in the place of the directory: %v", err)
	}
	must(t, os.Remove(r.Base+"/"+testID))
	must(t, os.MkdirAll(r.pin("mounts"), 0o700))
	must(t, os.Symlink(r.state, r.pin("mounts/0")))
	must(t, os.MkdirAll(r.pin("mounts/1/full"), 0o700))
	if err := r.Clean(testID); err == nil {
		t.Error("a pin with contents was deleted")
	}
	if _, err := os.Stat(r.state + "/dhcp/1/marker"); err != nil {
		t.Errorf("cleaning followed a link: %v", err)
	}
}

func TestLaunchRefusesAPlaceThatOthersCanWriteTo(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	r := newRig(t)
	must(t, os.MkdirAll(r.Base, 0o700))
	must(t, os.Chmod(r.Base, 0o777))
	if err := r.Prepare(r.plan()); err == nil || !strings.Contains(err.Error(), "others can write") {
		t.Errorf("error %v", err)
	}
	must(t, os.Chmod(r.Base, 0o700))
	must(t, os.Chown(r.Base, 1, 1))
	if err := r.Prepare(r.plan()); err == nil || !strings.Contains(err.Error(), "others can write") {
		t.Errorf("error %v", err)
	}
}
