package netns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"tripleo.io/sidecar/service/netns/netnstest"
)

// directory returns an empty directory. The host is the namespace of the test:
// the one of process 1 may be out of reach where tests run in a container.
func directory(t *testing.T) Directory {
	t.Helper()
	return Directory{Path: t.TempDir(), Host: "/proc/self/ns/net"}
}

// attacks fills a directory with everything an agent could leave there. It
// maps each name to a part of the error that refuses it, "" for none.
func attacks(t *testing.T, dir string) map[string]string {
	t.Helper()
	in := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	netnstest.Make(t, in("good"))
	netnstest.MakeUTS(t, in("uts"))
	netnstest.Bind(t, "/proc/self/ns/net", in("host"))
	must(os.WriteFile(in("text"), []byte("x"), 0o444))
	netnstest.Bind(t, in("text"), in("mounted-file"))
	must(os.Symlink("good", in("link")))
	must(os.Symlink("/proc/self/ns/net", in("link-to-host")))
	must(os.Symlink("nothing", in("dangling")))
	must(os.WriteFile(in("not-mounted"), nil, 0o444))
	must(unix.Mkfifo(in("fifo"), 0o666))
	must(unix.Mknod(in("device"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(os.Mkdir(in("directory"), 0o755))
	return map[string]string{
		"good":                               "",
		"uts":                                "another kind",
		"host":                               "host's own",
		"mounted-file":                       "plain file",
		"link":                               "symbolic link",
		"link-to-host":                       "symbolic link",
		"dangling":                           "symbolic link",
		"not-mounted":                        "rshared",
		"text":                               "plain file",
		"fifo":                               "fifo",
		"device":                             "device",
		"directory":                          "directory",
		"missing":                            "no such file",
		"../" + filepath.Base(dir) + "/good": "'/'",
		"..":                                 "is a directory",
		"":                                   "empty",
		strings.Repeat("n", 256):             "256 bytes",
	}
}

func TestNetnsOpenRefusesEverythingButANetworkNamespace(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	d := directory(t)
	for name, want := range attacks(t, d.Path) {
		err := d.Check(name)
		if want == "" && err != nil {
			t.Errorf("%q refused: %v", name, err)
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: error %v, want one with %q", name, err, want)
		}
		if missing := name == "missing"; errors.Is(err, os.ErrNotExist) != missing {
			t.Errorf("%q: error %v, os.ErrNotExist is not %t", name, err, missing)
		}
	}
}

func TestNetnsOpenedStaysWhatItWasWhenTheNameIsSwapped(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	d := directory(t)
	path := filepath.Join(d.Path, "qdhcp-1")
	netnstest.Make(t, path)
	f, err := d.Open("qdhcp-1")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	before, err := identify(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	netnstest.Bind(t, "/proc/self/ns/net", path)
	if host, err := d.IsHost(f); host || err != nil {
		t.Errorf("IsHost = %t, %v after the swap", host, err)
	}
	if after, err := identify(f); after != before || err != nil {
		t.Errorf("the namespace became %v (%v), was %v", after, err, before)
	}
	if err := d.Check("qdhcp-1"); err == nil {
		t.Error("the host's namespace was accepted after the swap")
	}
}

func hasNoSpace(name string) bool { return !strings.Contains(name, " ") }

func TestNetnsNameOf(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	d := directory(t)
	attacks(t, d.Path)
	netnstest.Bind(t, filepath.Join(d.Path, "good"), filepath.Join(d.Path, "also-good"))
	netnstest.Bind(t, filepath.Join(d.Path, "good"), filepath.Join(d.Path, "a bad name"))
	outside := filepath.Join(t.TempDir(), "nameless")
	netnstest.Make(t, outside)
	netnstest.Make(t, filepath.Join(d.Path, `odd \ name`))
	netnstest.Bind(t, filepath.Join(d.Path, `odd \ name`), filepath.Join(d.Path, "with\nline\tand tab"))
	tests := map[string]string{
		filepath.Join(d.Path, `odd \ name`): `odd \ name`,
		filepath.Join(d.Path, "good"):       "also-good",
		outside:                             "",
		"/proc/self/ns/net":                 "",
	}
	for path, want := range tests {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.NameOf(f, hasNoSpace)
		f.Close()
		if got != want || err != nil {
			t.Errorf("NameOf(%s) = %q, %v, want %q", path, got, err, want)
		}
	}
}

func TestNetnsNameOfAmongMany(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	d := directory(t)
	netnstest.Make(t, filepath.Join(d.Path, "good"))
	f, err := os.Open(filepath.Join(d.Path, "good"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fill := func(from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			fd, err := unix.Open(filepath.Join(d.Path, fmt.Sprint("filler-", i)), unix.O_CREAT|unix.O_CLOEXEC, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			unix.Close(fd)
		}
	}
	fill(0, 1500)
	if name, err := d.NameOf(f, hasNoSpace); name != "good" || err != nil {
		t.Errorf("NameOf = %q, %v among %d names, want good", name, err, 1500)
	}
	fill(1500, 70_000)
	netnstest.Bind(t, f.Name(), filepath.Join(d.Path, "also-good"))
	netnstest.Bind(t, f.Name(), filepath.Join(d.Path, "a bad name"))
	if name, err := d.NameOf(f, hasNoSpace); name != "also-good" || err != nil {
		t.Errorf("NameOf = %q, %v among too many names, want also-good", name, err)
	}
	if err := unix.Unmount(filepath.Join(d.Path, "also-good"), unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "nameless")
	netnstest.Make(t, outside)
	nameless, err := os.Open(outside)
	if err != nil {
		t.Fatal(err)
	}
	defer nameless.Close()
	if name, err := d.NameOf(nameless, hasNoSpace); name != "" || err != nil {
		t.Errorf("NameOf = %q, %v of what has no name, among too many", name, err)
	}
}

func TestNetnsDirectoryMissing(t *testing.T) {
	t.Parallel()
	d := Directory{Path: filepath.Join(t.TempDir(), "none")}
	if err := d.Check("x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Check: %v, want os.ErrNotExist", err)
	}
	f, err := os.Open("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if name, err := d.NameOf(f, hasNoSpace); name != "" || err != nil {
		t.Errorf("NameOf = %q, %v, want none", name, err)
	}
}

func TestNetnsDirectoryIsNoLink(t *testing.T) {
	t.Parallel()
	link := filepath.Join(t.TempDir(), "netns")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	if err := (Directory{Path: link}).Check("x"); !errors.Is(err, unix.ELOOP) {
		t.Errorf("Check: %v, want ELOOP", err)
	}
}

// TestHardeningNetnsDirectoryOnAnotherFileSystem shows that a file system that was
// mounted over the directory is not asked for names, unless it is a tmpfs, which
// cannot keep anybody waiting.
func TestHardeningNetnsDirectoryOnAnotherFileSystem(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	d := directory(t)
	for kind, want := range map[string]string{"tmpfs": "", "ramfs": "umount " + d.Path} {
		if err := unix.Mount(kind, d.Path, kind, 0, ""); err != nil {
			t.Fatal(err)
		}
		netnstest.Make(t, filepath.Join(d.Path, "good"))
		if err := d.Check("good"); (err == nil) != (want == "") || (err != nil && !strings.Contains(err.Error(), want)) {
			t.Errorf("on a %s: %v, want %q", kind, err, want)
		}
		if err := unix.Unmount(d.Path, unix.MNT_DETACH); err != nil {
			t.Fatal(err)
		}
	}
}
