package netns

import (
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNetnsOpenGoesOnWhileSomethingIsRenamed renames files without a pause. The
// plain system call is then interrupted with EAGAIN now and then, when the path
// has a ".." in it; ours never fails.
func TestNetnsOpenGoesOnWhileSomethingIsRenamed(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	if err := os.MkdirAll(path+"/a/b", 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	var done atomic.Bool
	var renaming sync.WaitGroup
	renaming.Go(func() {
		for from, to := "/x", "/y"; !done.Load(); from, to = to, from {
			_ = os.Rename(path+from, path+to)
		}
	})
	defer renaming.Wait()
	defer done.Store(true)
	if err := os.WriteFile(path+"/x", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("a/../", 4) + "a"
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH}
	interrupted := 0
	for range 20_000 {
		fd, err := unix.Openat2(int(dir.Fd()), long, &how)
		switch err {
		case nil:
			unix.Close(fd)
		case unix.EAGAIN:
			interrupted++
		}
		if fd, err = Openat2(int(dir.Fd()), long, unix.O_PATH, unix.RESOLVE_BENEATH); err != nil {
			t.Fatalf("after %d interrupted calls: %v", interrupted, err)
		}
		unix.Close(fd)
	}
	if interrupted == 0 {
		t.Skip("this kernel, or this machine, was never interrupted: nothing is shown")
	}
	t.Logf("%d of 20,000 plain calls were interrupted", interrupted)
}
