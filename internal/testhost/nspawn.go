package testhost

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
)

// nspawnArgs returns the command line of a host. systemd tells whether
// systemd is the init of the machine.
func nspawnArgs(run runDir, systemd bool) []string {
	argv := []string{
		"systemd-nspawn", "--quiet", "--boot",
		"--directory=" + run.root(),
		"--machine=" + run.id(),
		// Nothing of the machine's own configuration may reach the host, and
		// nothing of the host the machine.
		"--settings=no", "--resolv-conf=off", "--timezone=off", "--link-journal=no",
		// Loopback only: no test can reach the machine's network.
		"--private-network",
		// Containers in the host need what a real host's root has.
		"--capability=all",
		// podman refuses an overlay on an overlay, so its storage is on disk.
		"--bind=" + run.containers() + ":/var/lib/containers",
		// READY=1 comes from the host's own systemd, with its boot complete.
		"--notify-ready=yes",
		// The console is a log, nobody types.
		"--console=read-only",
	}
	if !systemd {
		// There is no machined to register with and no manager to ask for a
		// scope; the cgroup is the one that we started nspawn in.
		argv = append(argv, "--register=no", "--keep-unit")
	}
	return argv
}

// nspawnEnv returns the environment of nspawn, see systemd's ENVIRONMENT.md.
func nspawnEnv(run runDir) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"),
		"NOTIFY_SOCKET=" + run.notify(),
		// nspawn's filter forbids the keyrings that a container runtime makes.
		"SYSTEMD_SECCOMP=0",
		// cgroup v2 in the host, also on a machine with the hybrid hierarchy.
		"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1",
	}
}

// nspawn is the running systemd-nspawn of a host.
type nspawn struct {
	process *os.Process
	// done is closed when the process has ended.
	done chan struct{}
}

// startNspawn starts a host in the given cgroup (none if empty).
func startNspawn(run runDir, cgroup string) (*nspawn, error) {
	console, err := os.Create(run.console())
	if err != nil {
		return nil, err
	}
	defer console.Close()
	argv := nspawnArgs(run, outerSystemd())
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = nspawnEnv(run)
	cmd.Stdout, cmd.Stderr = console, console
	cmd.SysProcAttr = &syscall.SysProcAttr{
		// A ctrl-c at the terminal is ours to handle, in our order.
		Setpgid: true,
		// If we are killed, the host goes too.
		Pdeathsig: syscall.SIGTERM,
	}
	if cgroup != "" {
		dir, err := os.Open(cgroup)
		if err != nil {
			return nil, err
		}
		defer dir.Close()
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
	}
	spawned, err := startLocked(cmd)
	if err != nil {
		return nil, fmt.Errorf("start systemd-nspawn: %w", err)
	}
	pid := strconv.Itoa(spawned.process.Pid)
	return spawned, os.WriteFile(run.pidFile(), []byte(pid+"\n"), 0o600)
}

// startLocked starts a command on a thread that lives as long as the command:
// Pdeathsig fires when the thread that started it ends, not the process
// (PR_SET_PDEATHSIG(2const)).
func startLocked(cmd *exec.Cmd) (*nspawn, error) {
	started := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how a host ends is of no interest
		}
		runtime.UnlockOSThread()
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return &nspawn{process: cmd.Process, done: done}, nil
}

// stop shuts the host down in order, and kills it when that takes too long, or at once if ctx
// has ended.
// Killing its init first lets nspawn tidy up after itself.
func (n *nspawn) stop(ctx context.Context, leader int) error {
	if ctx.Err() == nil {
		_ = n.process.Signal(syscall.SIGTERM)
	}
	select {
	case <-n.done:
		return nil
	case <-ctx.Done():
	}
	if leader > 0 {
		_ = syscall.Kill(leader, syscall.SIGKILL)
	}
	_ = n.process.Kill()
	<-n.done
	return fmt.Errorf("the host did not shut down in time and was killed")
}
