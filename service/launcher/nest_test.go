package launcher

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/netns/netnstest"
)

// nestedPlan returns a plan whose mounts lie in one another, as haproxy's do, out of order.
func (r rig) nestedPlan(t *testing.T) *document.Document {
	t.Helper()
	must(t, os.MkdirAll(r.state+"/external/pids/deep", 0o755))
	p := r.plan()
	p.Mounts = []document.Mount{
		{Root: r.state, Path: "external/pids/deep"},
		{Root: r.state, Path: "external/pids", Writable: true},
		{Root: r.state, Path: "."},
		{Root: r.state, Path: "missing", Optional: true},
	}
	return p
}

// TestLaunchNestsMounts shows that mounts that lie in another one are in its pin,
// each with its own restrictions, and have none of their own.
func TestLaunchNestsMounts(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	r := newRig(t)
	p := r.nestedPlan(t)
	must(t, r.Prepare(p))
	entries, err := os.ReadDir(r.pin("mounts"))
	if err != nil || len(entries) != 1 || entries[0].Name() != "2" {
		t.Errorf("pins %v, %v, want only the outermost mount's", entries, err)
	}
	want := map[string]string{
		"mounts/2":                    "ro,nosuid,nodev,noexec",
		"mounts/2/external/pids":      "rw,nosuid,nodev,noexec",
		"mounts/2/external/pids/deep": "ro,nosuid,nodev,noexec",
	}
	for _, line := range mountsBelow(t, r.Base) {
		fields := strings.Fields(line)
		name := strings.TrimPrefix(fields[4], r.pin("")+"/")
		if options, ok := want[name]; !ok || !strings.HasPrefix(fields[5]+",", options+",") || fields[6] != "-" {
			t.Errorf("%s: options %q, %s; want %q and private", name, fields[5], fields[6], options)
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("not mounted: %v", want)
	}
	for file, fails := range map[string]error{"x": unix.EROFS, "external/pids/x": nil, "external/pids/deep/x": unix.EROFS} {
		fd, err := unix.Open(r.pin("mounts/2/"+file), unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
		if fails == nil && err == nil {
			must(t, unix.Close(fd))
		} else if err != fails {
			t.Errorf("writing %s: %v, want %v", file, err, fails)
		}
	}
	must(t, r.Clean(testID))
	r.checkNothingLeft(t)
}

// TestLaunchNestedMountsFollowNoLink shows that an agent that makes a link of a
// mount point, before or after, changes nothing elsewhere.
func TestLaunchNestedMountsFollowNoLink(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	r := newRig(t)
	p := r.nestedPlan(t)
	must(t, r.Prepare(p))
	must(t, os.Rename(r.state+"/external", r.state+"/real"))
	must(t, os.Symlink("/etc", r.state+"/external"))
	if inode(t, r.pin("mounts/2/real/pids")) != inode(t, r.state+"/real/pids") {
		t.Error("the mount did not stay with its directory")
	}
	if mounts := mountsBelow(t, "/etc"); len(mounts) > 0 {
		t.Errorf("mounted behind the link: %q", mounts)
	}
	if err := r.Prepare(p); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("with a link as mount point: %v, want an error", err)
	}
	r.checkNothingLeft(t)
}

func TestLaunchOutermostMounts(t *testing.T) {
	t.Parallel()
	p := documentOf(document.Plan{Mounts: []document.Mount{
		{Root: "/s", Path: "a/b/c"}, {Root: "/s", Path: "a-b"}, {Root: "/s", Path: "a/b"}, {Root: "/s", Path: "a"}, {Path: "/s/a/x"}, {Path: "/s2"},
	}})
	for i, want := range []int{3, 1, 3, 3, 3, 5} {
		if got := p.Outermost(i); got != want {
			t.Errorf("mount %d lies in %d, want %d", i, got, want)
		}
	}
}
