package launcher

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/netns/netnstest"
)

const someUser = 4711

// ownersOf returns the user, the group and the permissions of a file.
func ownersOf(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Lstat(path)
	must(t, err)
	st := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%d:%d %#o", st.Uid, st.Gid, st.Mode&0o7777)
}

// givenPlan returns a plan of a payload that is an ordinary user and writes to dhcp/1.
func (r rig) givenPlan() *document.Document {
	p := r.plan()
	p.User, p.Group = someUser, someUser
	p.Mounts = []document.Mount{{Root: r.state, Path: "dhcp/1", Writable: true, Given: true}}
	return p
}

// TestHardeningDirectoryIsGivenToTheUser shows what becomes the payload's, and that
// nothing else does.
func TestHardeningDirectoryIsGivenToTheUser(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	r := newRig(t)
	dir := r.state + "/dhcp/1/"
	must(t, os.WriteFile(dir+"leases", nil, 0o644))
	must(t, os.WriteFile(dir+"others", nil, 0o644))
	must(t, os.Chown(dir+"others", 99, 99))
	must(t, os.WriteFile(dir+"groups", nil, 0o644))
	must(t, os.Chown(dir+"groups", 0, 99))
	must(t, os.WriteFile(dir+"program", nil, 0o755))
	must(t, os.WriteFile(dir+"root-program", nil, 0o644))
	must(t, os.Chmod(dir+"root-program", 0o644|os.ModeSetuid))
	must(t, os.WriteFile(dir+"listed", nil, 0o600))
	// The user 1000 may read and write, but for a mask that lets nobody (acl(5)).
	list := []byte{2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 6, 0, 232, 3, 0, 0, 4, 0, 0, 0, 255, 255, 255, 255, 16, 0, 0, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255}
	must(t, unix.Setxattr(dir+"listed", "system.posix_acl_access", list, 0))
	must(t, os.Mkdir(dir+"sub", 0o755))
	must(t, os.WriteFile(r.state+"/victim", nil, 0o600))
	must(t, os.Link(r.state+"/victim", dir+"second-name"))
	must(t, os.Symlink(r.state+"/victim", dir+"link"))
	p := r.givenPlan()
	must(t, r.Prepare(p))
	for name, want := range map[string]string{
		"": "0:4711 0775", "leases": "0:4711 0664", "marker": "0:4711 0664", "others": "99:99 0644", "groups": "0:99 0644",
		"program": "0:0 0755", "root-program": "0:0 04644", "listed": "0:0 0600", "sub": "0:0 0755", "second-name": "0:0 0600", "link": "0:0 0777", "../../victim": "0:0 0600", "..": "0:0 0755",
	} {
		if got := ownersOf(t, dir+name); got != want {
			t.Errorf("%q is %s, want %s", name, got, want)
		}
	}
	must(t, r.Clean(p.ID))
}

// TestHardeningDirectoryIsNotGiven shows when a directory stays as it is.
func TestHardeningDirectoryIsNotGiven(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	r := newRig(t)
	for name, change := range map[string]func(p *document.Document){
		"of profile": func(p *document.Document) { p.Mounts[0].Given = false },
		"for root":   func(p *document.Document) { p.User, p.Group = 0, 0 },
		"another's":  func(*document.Document) { must(t, os.Chown(r.state+"/dhcp/1", 98, 98)) },
	} {
		p := r.givenPlan()
		change(p)
		must(t, r.Prepare(p))
		if got := ownersOf(t, r.state+"/dhcp/1"); got != "0:0 0755" && got != "98:98 0755" {
			t.Errorf("%s: it was given: %s", name, got)
		}
		if hint := unwritable(p); (hint != nil) != (name == "another's") || hint != nil && !strings.Contains(hint.Error(), "belongs to user 98") {
			t.Errorf("%s: hint %v", name, hint)
		}
		must(t, r.Clean(p.ID))
		must(t, os.Chown(r.state+"/dhcp/1", 0, 0))
	}
}

// TestHardeningPrivateMountIsTheUsers: the payload writes its pid file there.
func TestHardeningPrivateMountIsTheUsers(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	r := newRig(t)
	p := r.privatePlan(t)
	p.User, p.Group = someUser, someUser
	must(t, r.Prepare(p))
	if got := ownersOf(t, r.pin("mounts/2")); got != "4711:4711 0755" {
		t.Errorf("the private mount is %s", got)
	}
	must(t, r.Clean(p.ID))
}
