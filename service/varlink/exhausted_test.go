package varlink

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

// TestVarlinkOutOfDescriptors shows that a server that has no descriptor left
// waits (EMFILE of accept(2)), goes on serving those it has, and accepts again
// when some are free.
func TestVarlinkOutOfDescriptors(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	helper := exec.Command(os.Args[0], "-test.run=^TestExhaustedHelper$")
	helper.Env = append(os.Environ(), "SIDECAR_EXHAUSTED_PATH="+path)
	if err := helper.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- helper.Wait() }()
	t.Cleanup(func() { _ = helper.Process.Kill(); <-ended })
	for deadline := time.Now().Add(patience); refuseDead(path) != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the helper does not listen")
		}
	}
	all := []*rawClient{}
	for range 60 {
		all = append(all, dial(t, path))
	}
	all[0].alive()
	last := all[len(all)-1]
	if err := last.SetDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	last.send(echoCall)
	if frame, err := last.r.ReadString(0); err == nil {
		t.Fatalf("there is no lack of descriptors: %s", frame)
	}
	all[0].alive()
	for _, c := range all[1:] {
		c.Close()
	}
	dial(t, path).alive()
	select {
	case err := <-ended:
		t.Errorf("the server ended: %v", err)
	default:
	}
}

// TestExhaustedHelper is the server with few descriptors; on its own it shows
// nothing.
func TestExhaustedHelper(t *testing.T) {
	path := os.Getenv("SIDECAR_EXHAUSTED_PATH")
	if path == "" {
		t.Skip("is run by TestVarlinkOutOfDescriptors")
	}
	server, err := NewServer(Config{Interface: Interface{interfaces.Name, interfaces.Description, methods(nil)}})
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 40, Max: 40}); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Fatal(server.Serve(context.Background(), l, "agent"))
}
