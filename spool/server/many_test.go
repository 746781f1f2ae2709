package server

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/spool"
)

// TestSpoolServerMany shows that many entries are a matter of time only, and that few
// of them are kept.
func TestSpoolServerMany(t *testing.T) {
	t.Parallel()
	dir, fake := newSpool(t), newFake()
	n := 20_000
	if testing.Short() {
		n = 5_000
	}
	for i := range n {
		must(t, os.Symlink("x", filepath.Join(dir, spool.New, fmt.Sprint(i))))
	}
	put(t, dir, spool.New, spool.File(nameOf(1)), launchText("/good"))
	began := time.Now()
	serveOnce(t, dir, fake)
	t.Logf("%d entries took %v", n, time.Since(began).Round(time.Millisecond))
	checkEmpty(t, dir)
	if fake.started("/good") != 1 || resultOf(t, dir, nameOf(1)) == nil {
		t.Errorf("starts %v", fake.starts)
	}
	if got := len(entries(t, dir, spool.Refused)); got != 2*refusedCount {
		t.Errorf("%d refused files are kept, want %d", got, 2*refusedCount)
	}
}

// TestSpoolServerStuck shows that an entry that cannot be moved keeps the server
// awake, but not busy, and the others go on.
func TestSpoolServerStuck(t *testing.T) {
	t.Parallel()
	dir, fake := newSpool(t), newFake()
	stuckFile := filepath.Join(dir, spool.New, "stuck")
	must(t, os.WriteFile(stuckFile, nil, 0o600))
	if err := setImmutable(stuckFile, true); err != nil {
		t.Skipf("no immutable files here: %v", err)
	}
	t.Cleanup(func() { _ = setImmutable(stuckFile, false) }) // or nobody can remove it
	done := make(chan struct{})
	go func() { defer close(done); serveOnce(t, dir, fake) }()
	for i := range 3 {
		put(t, dir, spool.New, spool.File(nameOf(i)), launchText(fmt.Sprint("/", i)))
		for end := time.Now().Add(time.Minute); resultOf(t, dir, nameOf(i)) == nil; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("request %d is not answered", i)
			}
		}
	}
	select {
	case <-done:
		t.Fatal("the server has ended although the directory is not empty: systemd would start it at once, for ever")
	case <-time.After(300 * time.Millisecond):
	}
	must(t, setImmutable(stuckFile, false))
	<-done
	checkEmpty(t, dir)
}

// setImmutable sets or clears FS_IMMUTABLE_FL (ioctl_iflags(2)).
func setImmutable(path string, on bool) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := 0
	if on {
		flags = unix.STATX_ATTR_IMMUTABLE // the same bit
	}
	return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags)
}

// TestSpoolServerDeepDirectories shows that refused directories go away in the end,
// however deep they are.
func TestSpoolServerDeepDirectories(t *testing.T) {
	t.Parallel()
	dir, fake := newSpool(t), newFake()
	deep := filepath.Join(dir, spool.New, "deep")
	must(t, os.Mkdir(deep, 0o700))
	at, err := os.Open(deep)
	must(t, err)
	for range 3000 { // far more than a path can have
		must(t, unix.Mkdirat(int(at.Fd()), "d", 0o700))
		must(t, unix.Mkdirat(int(at.Fd()), "e", 0o700))
		next, err := openDirectory(at, "d")
		must(t, err)
		at.Close()
		at = next
	}
	at.Close()
	serveOnce(t, dir, fake)
	for i := range 3 * refusedCount {
		put(t, dir, spool.New, fmt.Sprint("junk", i), "")
	}
	serveOnce(t, dir, fake)
	if got := len(entries(t, dir, spool.Refused)); got != 2*refusedCount {
		t.Errorf("%d refused files are kept, want %d", got, 2*refusedCount)
	}
	for _, name := range entries(t, dir, spool.Refused) {
		if info, err := os.Lstat(filepath.Join(dir, spool.Refused, name)); err == nil && info.IsDir() {
			t.Errorf("the directory %s is kept", name)
		}
	}
}
