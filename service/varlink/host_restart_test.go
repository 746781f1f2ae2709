//go:build testhost

package varlink

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service"
)

// TestRestartVarlinkStore kills a service of systemd's again and again. Every
// call in between is answered, by the next one: systemd keeps the socket.
func TestRestartVarlinkStore(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "agents")
	unit := fmt.Sprintf("varlinktest-%d.service", os.Getpid())
	_, stderr, code := program(t, "systemd-run", "--quiet", "--collect", "--unit="+unit,
		"-p", "FileDescriptorStoreMax=4", "-p", "NotifyAccess=main", "-p", "Restart=always", "-p", "RestartSec=200ms",
		"-p", "StartLimitBurst=100", "-E", "SIDECAR_STORE_DIR="+dir, self, "-test.run=^TestStoreHelper$")
	if code != 0 {
		t.Fatal(stderr)
	}
	t.Cleanup(func() { program(t, "systemctl", "stop", unit) })
	path := AgentSocket(dir, "neutron")
	first := waitForInode(t, path)
	pids := map[int]bool{}
	for range 5 {
		pid := whoServes(t, path)
		if pids[pid] {
			t.Errorf("process %d was killed and answers", pid)
		}
		pids[pid] = true
		kill(t, unit)
	}
	if now := waitForInode(t, path); now != first {
		t.Errorf("the socket was bound again: %d, %d", first, now)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	kill(t, unit)
	if now := waitForInode(t, path); now == first {
		t.Error("a socket that nobody can reach was kept")
	}
	whoServes(t, path)
}

func kill(t *testing.T, unit string) {
	t.Helper()
	if _, stderr, code := program(t, "systemctl", "kill", "--signal=KILL", unit); code != 0 {
		t.Fatal(stderr)
	}
}

func waitForInode(t *testing.T, path string) uint64 {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if inode, err := InodeOf(path); err == nil && refuseDead(path) == nil {
			return inode
		}
	}
	t.Fatal("nobody listens at " + path)
	return 0
}

// whoServes returns the process that answers. The one that was killed a moment
// ago may have taken the connection with it, which is no answer.
func whoServes(t *testing.T, path string) (pid int) {
	t.Helper()
	for range 3 {
		c := dial(t, path)
		c.send(method("Who"))
		var answer struct{ Parameters service.Caller }
		if err := json.Unmarshal([]byte(c.recv()), &answer); err == nil {
			return answer.Parameters.PID
		}
	}
	t.Fatal("no answer")
	return 0
}

// TestStoreHelper is the service that TestRestartVarlinkStore kills; on its own
// it shows nothing.
func TestStoreHelper(t *testing.T) {
	dir := os.Getenv("SIDECAR_STORE_DIR")
	if dir == "" {
		t.Skip("is run by TestRestartVarlinkStore")
	}
	store := NewFDStore(os.Getenv)
	listeners, err := store.Restored(func(name string) (string, uint64, error) {
		inode, err := AgentInode(dir, name)
		return AgentSocket(dir, name), inode, err
	})
	if err != nil {
		t.Log(err)
	}
	l := listeners["neutron"]
	if l == nil {
		if l, err = BindAgent(dir, "neutron"); err != nil {
			t.Fatal(err)
		}
		inode, err := AgentInode(dir, "neutron")
		if err == nil {
			err = store.Store("neutron", l, inode)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	who := func(context.Context, service.Caller, nothing) (service.Caller, error) {
		return service.Caller{PID: os.Getpid()}, nil
	}
	server, err := NewServer(Config{Interface: Interface{interfaces.Name, interfaces.Description, map[string]Handler{"Who": Single(who)}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Fatal(server.Serve(context.Background(), l, "neutron"))
}
