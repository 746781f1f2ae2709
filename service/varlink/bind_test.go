package varlink

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// modeOf returns type and permissions of the file itself.
func modeOf(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode()
}

func TestVarlinkBindAgent(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "agents")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time, a dead socket is there
		l, err := BindAgent(dir, "neutron-l3")
		if err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]fs.FileMode{
			dir:                              fs.ModeDir | 0o700,
			filepath.Join(dir, "neutron-l3"): fs.ModeDir | 0o755,
			AgentSocket(dir, "neutron-l3"):   fs.ModeSocket | 0o666,
		} {
			if got := modeOf(t, path); got != want {
				t.Errorf("%s: %v, want %v", path, got, want)
			}
		}
		address, path := l.Addr().String(), AgentSocket(dir, "neutron-l3")
		if !boundAt(address, path, true) || boundAt(address, path, false) || boundAt(address, dir+"/another", true) {
			t.Errorf("the address %s is not known again, or is one of every socket", address)
		}
		l.Close()
	}
	for range 2 {
		if err := UnbindAgent(dir, "neutron-l3"); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, "neutron-l3")); err == nil {
		t.Error("the directory is left")
	}
}

// TestVarlinkBindTakesOver shows that a listener in an agent's directory, which
// the agent can put there, does not keep the service out.
func TestVarlinkBindTakesOver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := BindAgent(dir, "a")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	path := AgentSocket(dir, "a")
	second, err := BindAgent(dir, "a")
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if err := refuseDead(path); err != nil {
		t.Fatal(err)
	}
	if err := second.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := second.Accept(); err != nil {
		t.Errorf("the path leads to the first one: %v", err)
	}
}

func TestVarlinkBindAgentRefusesNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", ".", "..", "a/b", "../x", "A", strings.Repeat("a", 33)} {
		if _, err := BindAgent(t.TempDir(), name); err == nil {
			t.Errorf("%q is taken", name)
		}
	}
}

// TestVarlinkBindFollowsNothing shows that what an agent puts in the socket's
// place is neither removed nor followed.
func TestVarlinkBindFollowsNothing(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(path, victim string) error{
		"symlink":          func(path, victim string) error { return os.Symlink(victim, path) },
		"dangling symlink": func(path, victim string) error { return os.Symlink(victim+"x", path) },
		"file":             func(path, _ string) error { return os.WriteFile(path, nil, 0o600) },
		"directory":        func(path, _ string) error { return os.Mkdir(path, 0o700) },
		"fifo":             func(path, _ string) error { return unix.Mkfifo(path, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			victim, path := filepath.Join(dir, "victim"), filepath.Join(dir, "s")
			if err := os.WriteFile(victim, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := make(path, victim); err != nil {
				t.Fatal(err)
			}
			before := modeOf(t, path)
			if _, err := Bind(path, 0o666); err == nil || !strings.Contains(err.Error(), "is not a socket") {
				t.Errorf("Bind: %v", err)
			}
			if _, err := (file{path, path}).inode(); err == nil {
				t.Error("it is taken for a socket")
			}
			if err := (file{path, path}).chmod(0o666); err == nil {
				t.Error("its mode was changed")
			}
			if after := modeOf(t, path); after != before {
				t.Errorf("%v became %v", before, after)
			}
			if got := modeOf(t, victim); got != 0o600 {
				t.Errorf("the victim's mode is %v", got)
			}
		})
	}
}

func TestVarlinkBindRefusesALinkedDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "agents"), 0o700); err != nil {
		t.Fatal(err)
	}
	target := t.TempDir()
	if err := os.Symlink(target, filepath.Join(dir, "agents", "a")); err != nil {
		t.Fatal(err)
	}
	if _, err := BindAgent(filepath.Join(dir, "agents"), "a"); err == nil {
		t.Error("the link was followed")
	}
	if entries, err := os.ReadDir(target); err != nil || len(entries) != 0 {
		t.Errorf("%v, %v", entries, err)
	}
}

// TestHardeningVarlinkBindUsesTheDirectoryThatItChecked exchanges an agent's directory
// with a link all the time: nothing is made or removed where the link leads to.
func TestHardeningVarlinkBindUsesTheDirectoryThatItChecked(t *testing.T) {
	t.Parallel()
	dir, target := t.TempDir(), t.TempDir()
	path, link := filepath.Join(dir, "a"), filepath.Join(dir, "link")
	if err := errors.Join(os.Mkdir(path, 0o755), os.Symlink(target, link)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var swapping sync.WaitGroup
	swapping.Go(func() {
		for ctx.Err() == nil {
			_ = unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE)
		}
	})
	defer swapping.Wait()
	defer cancel()
	bound := 0
	for range 1000 {
		if l, err := BindAgent(dir, "a"); err == nil {
			bound++
			l.Close()
		}
		if entries, err := os.ReadDir(target); err != nil || len(entries) != 0 {
			t.Fatalf("%v, %v", entries, err)
		}
	}
	if bound == 0 {
		t.Error("it never worked, and so shows nothing")
	}
}

// TestVarlinkBindErrorsHaveThePathOnce: the path that a system call got may lead through a
// descriptor and tells a reader nothing.
func TestVarlinkBindErrorsHaveThePathOnce(t *testing.T) {
	t.Parallel()
	given := filepath.Join(t.TempDir(), "missing", "s")
	for _, f := range []file{{given, given}, {given, "/shown/s"}} {
		_, listen := f.bind(0o666)
		for want, err := range map[string]error{
			"listen " + f.shown + ": bind: no such file or directory": listen,
			"remove " + f.shown + ": no such file or directory":       f.unlink(),
			"open " + f.shown + ": no such file or directory":         f.chmod(0),
		} {
			if err == nil || err.Error() != want || !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%v, want %s", err, want)
			}
		}
	}
	if err := (file{given, given}).failed("remove", nil); err != nil {
		t.Error(err)
	}
}
