package launcher

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/netns/netnstest"
)

// realUnit makes control groups as systemd would for a delegated service, moves
// this process into ".control", and returns the directory of the service.
func realUnit(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/cgroup")
	must(t, err)
	_, group, ok := strings.Cut("\n"+string(text), "\n0::")
	if !ok {
		t.Skip("needs version 2 control groups")
	}
	group, _, _ = strings.Cut(group, "\n")
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	unit := strings.TrimSuffix(group, "/") + "/sidecar-test-" + strconv.Itoa(os.Getpid()) + ".service"
	dir, err := cgroupDirectory(string(mountinfo), unit)
	must(t, err)
	for _, name := range []string{"", ".control", "payload"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Skipf("needs a control group that it can write to: %v", err)
		}
		t.Cleanup(func() { removeGroup(t, filepath.Join(dir, name)) })
	}
	move(t, filepath.Join(dir, ".control"))
	t.Cleanup(func() { move(t, filepath.Dir(dir)) })
	return dir
}

func move(t *testing.T, group string) {
	t.Helper()
	must(t, os.WriteFile(group+"/cgroup.procs", []byte(strconv.Itoa(os.Getpid())), 0o644))
}

// removeGroup removes a control group once its last process is gone, which is
// a moment after it was waited for.
func removeGroup(t *testing.T, dir string) {
	t.Helper()
	var err error
	for range 3000 {
		if err = unix.Rmdir(dir); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("removing %s: %v", dir, err)
}

// start runs a shell script in a control group.
func start(t *testing.T, group, script string, flags uintptr) *exec.Cmd {
	t.Helper()
	dir, err := os.Open(group)
	must(t, err)
	defer dir.Close()
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd()), Cloneflags: flags, Pdeathsig: syscall.SIGKILL}
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	return cmd
}

// TestReadyWithRealProcesses has a payload with a pid namespace and a control
// group of its own, and a stranger that looks the same but belongs to nobody.
func TestReadyWithRealProcesses(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	unit, root := realUnit(t), t.TempDir()
	const write = "echo $$ > %s; exec sleep 60"
	main := start(t, unit, "exec sleep 60", 0)
	start(t, filepath.Dir(unit), fmt.Sprintf(write, root+"/stranger"), syscall.CLONE_NEWPID)
	payload := start(t, unit+"/payload", fmt.Sprintf(write, root+"/pid"), syscall.CLONE_NEWPID)
	table, err := ownCgroup("/proc")
	must(t, err)
	p := documentOf(document.Plan{ID: testID, PIDNamespace: document.Private, PIDFiles: []document.File{{Root: root, Path: "pid"}}})
	pid, err := Launcher{}.Ready(deadline(t, time.Minute), p, table, main.Process.Pid)
	if pid != payload.Process.Pid || err != nil {
		t.Errorf("process %d, %v, want %d", pid, err, payload.Process.Pid)
	}
	if text, err := os.ReadFile(root + "/pid"); string(text) != strconv.Itoa(payload.Process.Pid)+"\n" {
		t.Errorf("the pid file holds %q, %v", text, err)
	}
	checkHost(t, root, table, main.Process.Pid)
}

// checkHost looks at the same processes from a plan in the host's pid
// namespace: only processes of the unit count there too.
func checkHost(t *testing.T, root string, table ProcessTable, mainPID int) {
	t.Helper()
	p := documentOf(document.Plan{ID: testID, PIDNamespace: document.Host, PIDFiles: []document.File{{Root: root, Path: "host"}}})
	for pid, want := range map[int]int{mainPID: mainPID, os.Getppid(): 0, os.Getpid(): 0} {
		must(t, os.WriteFile(root+"/host", []byte(strconv.Itoa(pid)), 0o644))
		got, err := Launcher{}.Ready(deadline(t, 50*time.Millisecond), p, table, mainPID)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("pid file with %d: process %d, %v, want %d", pid, got, err, want)
		}
	}
}
