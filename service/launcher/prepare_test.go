package launcher

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/netns"
	"tripleo.io/sidecar/service/netns/netnstest"
)

// rig is a launcher with everything in a directory of the test. It lies on a
// tmpfs of its own, shared as /run is on a host with systemd.
type rig struct {
	Launcher
	state string // the agent's state directory
}

// Links to /etc are part of the attacks; if one worked, it must not hurt the
// machine, so /etc is read-only here.
func newRig(t *testing.T) rig {
	t.Helper()
	must(t, unix.Mount("/etc", "/etc", "", unix.MS_BIND, ""))
	t.Cleanup(func() { _ = unix.Unmount("/etc", unix.MNT_DETACH) })
	must(t, unix.Mount("", "/etc", "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	dir := t.TempDir()
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	must(t, unix.Mount("", dir, "", unix.MS_SHARED, ""))
	r := rig{state: dir + "/state"}
	r.Base = dir + "/run/launch"
	r.Namespaces = netns.Directory{Path: dir + "/netns", Host: "/proc/self/ns/net"}
	must(t, os.MkdirAll(r.state+"/dhcp/1", 0o755))
	must(t, os.WriteFile(r.state+"/dhcp/1/marker", nil, 0o644))
	must(t, os.Mkdir(r.Namespaces.Path, 0o755))
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// plan returns a plan with one mount and one pid file.
func (r rig) plan() *document.Document {
	return documentOf(document.Plan{
		ID:           testID,
		Mounts:       []document.Mount{{Root: r.state, Path: "dhcp/1"}},
		PIDFiles:     []document.File{{Root: r.state, Path: "dhcp/1/pid"}},
		PIDNamespace: document.Private,
	})
}

func (r rig) pin(name string) string { return filepath.Join(r.Base, testID, name) }

// checkNothingLeft makes sure that neither a mount nor a directory is there.
func (r rig) checkNothingLeft(t *testing.T) {
	t.Helper()
	entries, err := os.ReadDir(r.Base)
	if err != nil || len(entries) != 0 {
		t.Errorf("left over: %v, %v", entries, err)
	}
	if mounts := mountsBelow(t, r.Base); len(mounts) != 0 {
		t.Errorf("left mounted: %q", mounts)
	}
}

// mountsBelow returns the lines of mountinfo about mounts below dir.
func mountsBelow(t *testing.T, dir string) []string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	var found []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(strings.Fields(line)[4], dir+"/") {
			found = append(found, line)
		}
	}
	return found
}

// inode returns the device and the inode that path leads to.
func inode(t *testing.T, path string) [2]uint64 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Stat(path, &st))
	return [2]uint64{st.Dev, st.Ino}
}

func TestLaunchPinsNamespaceAndMounts(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	r := newRig(t)
	netnstest.Make(t, r.Namespaces.Path+"/qdhcp-1")
	must(t, os.WriteFile(r.state+"/fixed", []byte("x"), 0o644))
	must(t, os.Mkdir(r.state+"/ra", 0o755))
	p := r.plan()
	p.Context.NetworkNamespace = new("qdhcp-1")
	p.Mounts = []document.Mount{
		{Root: r.state, Path: "dhcp/1", Writable: true},
		{Root: r.state, Path: "ra"},
		{Path: r.state + "/fixed"},
		{Root: r.state, Path: "missing", Writable: true, Optional: true},
	}
	must(t, r.Prepare(p))
	for pin, source := range map[string]string{
		"netns":    r.Namespaces.Path + "/qdhcp-1",
		"mounts/0": r.state + "/dhcp/1",
		"mounts/1": r.state + "/ra",
		"mounts/2": r.state + "/fixed",
	} {
		if inode(t, r.pin(pin)) != inode(t, source) {
			t.Errorf("%s is not %s", pin, source)
		}
	}
	wantOptions := map[string]string{
		"netns":    "rw",
		"mounts/0": "rw,nosuid,nodev,noexec",
		"mounts/1": "ro,nosuid,nodev,noexec",
		"mounts/2": "ro,nosuid,nodev",
		"mounts/3": "ro,nosuid,nodev,noexec",
	}
	mounts := mountsBelow(t, r.Base)
	if len(mounts) != 5 {
		t.Errorf("%d mounts, want 5: %q", len(mounts), mounts)
	}
	for _, line := range mounts {
		fields := strings.Fields(line)
		name, _ := filepath.Rel(r.pin(""), fields[4])
		if want := wantOptions[name]; !strings.HasPrefix(fields[5]+",", want+",") || name == "mounts/2" && strings.Contains(fields[5], "noexec") {
			t.Errorf("%s: options %q, want %q", name, fields[5], want)
		}
		if fields[6] != "-" {
			t.Errorf("%s is not private: %s", name, fields[6])
		}
	}
	if st, err := os.Stat(r.pin("")); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("directory %v, %v, want mode 0700", st, err)
	}
	must(t, r.Clean(testID))
	r.checkNothingLeft(t)
	must(t, r.Clean(testID))
}

func TestLaunchPinStaysWhenTheSourceIsSwapped(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	r := newRig(t)
	must(t, r.Prepare(r.plan()))
	must(t, os.Rename(r.state+"/dhcp/1", r.state+"/dhcp/2"))
	must(t, os.Symlink("/etc", r.state+"/dhcp/1"))
	if _, err := os.Stat(r.pin("mounts/0/marker")); err != nil {
		t.Errorf("the pin shows something else: %v", err)
	}
	must(t, r.Clean(testID))
}

func TestLaunchLaterMountsInTheSourceDoNotLeak(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	r := newRig(t)
	must(t, r.Prepare(r.plan()))
	must(t, os.Mkdir(r.state+"/dhcp/1/later", 0o755))
	must(t, unix.Mount("/etc", r.state+"/dhcp/1/later", "", unix.MS_BIND, ""))
	if entries, err := os.ReadDir(r.pin("mounts/0/later")); err != nil || len(entries) != 0 {
		t.Errorf("the later mount shows in the pin: %v, %v", entries, err)
	}
	must(t, r.Clean(testID))
	r.checkNothingLeft(t)
}

func TestLaunchRemovesOldFilesAndNothingElse(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	r := newRig(t)
	victim := r.state + "/victim"
	must(t, os.WriteFile(victim, []byte("keep"), 0o644))
	make := map[string]func(path string) error{
		"plain":   func(path string) error { return os.WriteFile(path, []byte("1"), 0o644) },
		"link":    func(path string) error { return os.Symlink(victim, path) },
		"fifo":    func(path string) error { return unix.Mkfifo(path, 0o644) },
		"device":  func(path string) error { return unix.Mknod(path, unix.S_IFCHR, int(unix.Mkdev(1, 3))) },
		"missing": func(string) error { return nil },
	}
	for name, create := range make {
		p := r.plan()
		p.Socket = &document.File{Root: r.state, Path: "dhcp/1/ctl"}
		must(t, create(p.PIDFiles[0].String()))
		must(t, create(p.Socket.String()))
		must(t, r.Prepare(p))
		for _, f := range p.Files() {
			if _, err := os.Lstat(f.String()); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s: %s is still there (%v)", name, f, err)
			}
		}
	}
	if text, err := os.ReadFile(victim); string(text) != "keep" {
		t.Errorf("the target of a link became %q, %v", text, err)
	}
	must(t, r.Clean(testID))
}

func TestLaunchUndoesEverythingWhenAStepFails(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	tests := map[string]struct {
		change func(*testing.T, rig, *document.Document)
		want   string
	}{
		"no namespace": {func(_ *testing.T, _ rig, p *document.Document) { p.Context.NetworkNamespace = new("gone") }, `"gone"`},
		"host's namespace": {func(t *testing.T, r rig, p *document.Document) {
			netnstest.Bind(t, "/proc/self/ns/net", r.Namespaces.Path+"/qdhcp-9")
			p.Context.NetworkNamespace = new("qdhcp-9")
		}, "host's own"},
		"missing directory": {func(_ *testing.T, r rig, p *document.Document) {
			p.Mounts = append(p.Mounts, document.Mount{Root: r.state, Path: "dhcp/7"})
		}, "/state/dhcp/7: does not exist"},
		"missing root": {func(_ *testing.T, r rig, p *document.Document) { p.Mounts[0].Root += "x" }, "/statex: does not exist"},
		"link": {func(t *testing.T, r rig, p *document.Document) {
			must(t, os.Symlink("/etc", r.state+"/evil"))
			p.Mounts[0].Path = "evil"
		}, "symbolic link"},
		"link on the way": {func(t *testing.T, r rig, p *document.Document) {
			must(t, os.Symlink("dhcp", r.state+"/evil"))
			p.Mounts[0].Path = "evil/1"
		}, "symbolic link"},
		"link to the root": {func(t *testing.T, r rig, p *document.Document) {
			must(t, os.Symlink(r.state, r.state+"-link"))
			p.Mounts[0].Root = r.state + "-link"
		}, "symbolic link"},
		"file for a directory": {func(_ *testing.T, _ rig, p *document.Document) { p.Mounts[0].Path = "dhcp/1/marker" }, "not a directory"},
		"device as fixed path": {func(_ *testing.T, _ rig, p *document.Document) { p.Mounts[0] = document.Mount{Path: "/dev/null"} }, "/dev/null: is neither"},
		"directory as pid file": {func(t *testing.T, r rig, _ *document.Document) {
			must(t, os.Mkdir(r.state+"/dhcp/1/pid", 0o755))
		}, "/dhcp/1/pid: is a directory"},
		"missing directory of a pid file": {func(_ *testing.T, _ rig, p *document.Document) { p.PIDFiles[0].Path = "x/pid" }, "/state/x: does not exist"},
		"link to the pid file's directory": {func(t *testing.T, r rig, p *document.Document) {
			victim := t.TempDir()
			must(t, os.WriteFile(victim+"/pid", []byte("keep"), 0o644))
			t.Cleanup(func() {
				if _, err := os.Stat(victim + "/pid"); err != nil {
					t.Errorf("a file behind a link was removed: %v", err)
				}
			})
			must(t, os.Symlink(victim, r.state+"/evil"))
			p.PIDFiles[0].Path = "evil/pid"
		}, "symbolic link"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			p := r.plan()
			test.change(t, r, p)
			if err := r.Prepare(p); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
			r.checkNothingLeft(t)
		})
	}
}
