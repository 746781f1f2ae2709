package testhost

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// machineVersion is raised when the way a machine's tree is built changes.
	machineVersion = 1
	// machineSize is what a machine's disk holds at most, in mke2fs(8)'s units. The
	// file is sparse.
	machineSize = "6G"
	// machineMemory is the machine's memory, in MiB.
	machineMemory = "3072"
	// machineBoot is what a machine gets until its first line. An emulated one with SELinux
	// took three minutes.
	machineBoot = 15 * time.Minute
	// endDelayOfMachine is what a machine gets to switch itself off.
	endDelayOfMachine = 2 * time.Minute
)

// machinePackages make a tree a machine: a kernel, and what makes its initrd.
var machinePackages = []string{"linux-image-cloud-amd64", "initramfs-tools", "kmod"}

// machineUnit runs machineScript when the machine has booted.
//
//go:embed machine.service
var machineUnit string

// machineScript runs the program with the second serial port as its output.
//
//go:embed machine.sh
var machineScript string

// machineEnd is how the machine says the program's exit code; machineScript prints it.
const machineEnd = "testhost: exit code "

// Machine is a whole virtual machine (qemu-system-x86_64(1)) to run one program in: what
// a [Host] shares with the machine that boots it, this one has for itself: the kernel
// with its security modules, all control group controllers, and a podman that is set up
// as the distribution does it.
type Machine struct {
	Config
	// Name says which machine of the specification to boot: a key of Spec.Machine.
	Name string
	// Program is copied into the machine and run as its root, with Args. TestData is a
	// directory to copy beside it, if it exists.
	Program  string
	Args     []string
	TestData string
	// Output gets what the program prints.
	Output io.Writer
}

// RunMachine boots a machine, runs its program, and returns its exit code. A machine that
// ends before the program is an error with the last lines of its console.
func RunMachine(ctx context.Context, machine Machine) (code int, err error) {
	c, err := machine.validate()
	if err != nil {
		return 0, err
	}
	machine.Config = c
	spec, ok := c.Spec.Machine[machine.Name]
	if !ok {
		return 0, fmt.Errorf("machine %q: not in the specification", machine.Name)
	}
	if err := c.ensure(ctx, map[string]string{"qemu-system-x86_64": "qemu-system-x86", "mke2fs": "e2fsprogs"}); err != nil {
		return 0, err
	}
	tree, store, err := c.prepare(ctx)
	if err != nil {
		return 0, err
	}
	if tree, err = machine.tree(ctx, spec, tree); err != nil {
		return 0, err
	}
	run, err := c.newRunDir(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, run.remove()) }()
	if err := machine.furnish(ctx, run, spec, tree, store); err != nil {
		return 0, err
	}
	return machine.boot(ctx, run, spec)
}

// tree returns the tree of the machine: the host's, with its packages and what its
// specification does to it.
func (m Machine) tree(ctx context.Context, spec MachineSpec, host string) (string, error) {
	name := "machine-" + m.Release + "-" + m.Name + "-" + hash(machineVersion, filepath.Base(host), spec.Packages, spec.Prepare)
	return m.makeOnce(ctx, name, func(dir string) error {
		m.logf("making the tree of the machine %s: once, some minutes", m.Name)
		if err := runOuter(ctx, io.Discard, "cp", "--archive", "--reflink=auto", host+"/.", dir); err != nil {
			return err
		}
		resolver, err := os.ReadFile("/etc/resolv.conf") // the tree resolves names as we do
		if err != nil {
			return err
		}
		if err := errors.Join(prepareSecondStage(dir), writeFile(dir, "etc/resolv.conf", string(resolver), 0o644)); err != nil {
			return err
		}
		install := []string{"apt-get", "install", "--yes", "--no-install-recommends", "-o", "Acquire::Retries=3"}
		for _, argv := range [][]string{
			{"apt-get", "update", "-o", "Acquire::Retries=3"},
			slices.Concat(install, machinePackages, spec.Packages),
			{"sh", "-ec", spec.Prepare},
		} {
			if err := inTree(ctx, dir, argv...); err != nil {
				return err
			}
		}
		return errors.Join(finishTree(dir), os.Remove(filepath.Join(dir, policyFile)))
	})
}

// inTree runs a program of a tree in it.
func inTree(ctx context.Context, tree string, argv ...string) error {
	return runOuter(ctx, io.Discard, append([]string{"chroot", tree}, argv...)...)
}

// furnish makes the machine's disk.
func (m Machine) furnish(ctx context.Context, run runDir, spec MachineSpec, tree, store string) error {
	root := run.root()
	if err := mountOverlay(root, tree, run.upper(), run.work()); err != nil {
		return err
	}
	// podman is as the distribution sets it up: no containers.conf of ours.
	err := errors.Join(
		m.maskUnits(root),
		writeFile(root, "etc/machine-id", "", 0o444),
		writeFile(root, "etc/hostname", m.Name+"\n", 0o644),
		writeFile(root, "etc/fstab", "", 0o644),
		writeFile(root, "etc/systemd/system/testhost.service", machineUnit, 0o644),
		os.MkdirAll(filepath.Join(root, "etc/systemd/system/multi-user.target.wants"), 0o755),
		os.Symlink("../testhost.service", filepath.Join(root, "etc/systemd/system/multi-user.target.wants/testhost.service")),
		writeFile(root, "srv/testhost/start", spec.Start, 0o644),
		writeFile(root, "srv/testhost/machine.sh", machineScript, 0o644),
		writeFile(root, "srv/testhost/arguments", strings.Join(append([]string{filepath.Base(m.Program)}, m.Args...), "\n")+"\n", 0o644),
	)
	for _, staged := range m.Install {
		err = errors.Join(err, install(ctx, staged, root))
	}
	if err != nil {
		return err
	}
	copied := [][2]string{{m.Program, "srv/testhost/"}}
	if m.TestData != "" && exists(m.TestData) {
		copied = append(copied, [2]string{m.TestData, "srv/testhost/"})
	}
	if store != "" {
		copied = append(copied, [2]string{store + "/.", "var/lib/containers"})
	}
	for _, c := range copied {
		if err := runOuter(ctx, io.Discard, "cp", "--archive", c[0], filepath.Join(root, c[1])); err != nil {
			return err
		}
	}
	if err := inTree(ctx, root, "sh", "-ec", spec.Install); err != nil {
		return err
	}
	return runOuter(ctx, io.Discard, "mke2fs", "-q", "-t", "ext4", "-d", root, run.disk(), machineSize)
}

// boot boots the machine and passes on what its program prints.
func (m Machine) boot(ctx context.Context, run runDir, spec MachineSpec) (code int, err error) {
	kernel, initrd, err := kernelOf(run.root())
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	boot := time.AfterFunc(machineBoot, func() { cancel(fmt.Errorf("the machine does not boot in %v", machineBoot)) })
	runtime.LockOSThread() // see startLocked
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", qemuArgs(run, kernel, initrd, spec.Kernel, canVirtualize())...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = killDelay
	output, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	code = -1
	lines := bufio.NewScanner(output)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		boot.Stop()
		text, found := strings.CutPrefix(lines.Text(), machineEnd)
		if found {
			if code, err = strconv.Atoi(text); err != nil {
				code = -1
			}
			time.AfterFunc(endDelayOfMachine, func() { cancel(errors.New("the machine does not switch itself off")) })
			continue
		}
		fmt.Fprintln(m.Output, text)
	}
	waitErr := cmd.Wait()
	switch {
	case code >= 0:
		return code, nil
	case context.Cause(ctx) != nil:
		return 0, fmt.Errorf("%w\n%s", context.Cause(ctx), run.consoleTail())
	}
	return 0, fmt.Errorf("the machine ended before its program: %w\n%s", errors.Join(waitErr, lines.Err()), run.consoleTail())
}

// kernelOf returns the kernel and the initrd of a tree.
func kernelOf(root string) (kernel, initrd string, err error) {
	for _, file := range []struct {
		path    *string
		pattern string
	}{{&kernel, "boot/vmlinuz-*"}, {&initrd, "boot/initrd.img-*"}} {
		found, err := filepath.Glob(filepath.Join(root, file.pattern))
		if err != nil || len(found) != 1 {
			return "", "", fmt.Errorf("%d files %s in the machine's tree, want one", len(found), file.pattern)
		}
		*file.path = found[0]
	}
	return kernel, initrd, nil
}

// canVirtualize reports whether this machine can run another one without emulating its
// processor. There are /dev/kvm that need a kernel made for them (seen on a processor
// without svm and vmx: QEMU ended at once, or at the guest's first instructions).
func canVirtualize() bool {
	processor, err := os.ReadFile("/proc/cpuinfo")
	if err != nil || !virtualization.Match(processor) {
		return false
	}
	file, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	return file.Close() == nil
}

var virtualization = regexp.MustCompile(`(?m)^flags\s*:.* (svm|vmx)\b`)

// qemuArgs returns QEMU's arguments. The first serial port is the console, the second
// one the output of the program.
func qemuArgs(run runDir, kernel, initrd, commandLine string, kvm bool) []string {
	argv := []string{
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-m", machineMemory,
		"-kernel", kernel, "-initrd", initrd,
		"-append", "console=ttyS0 root=/dev/vda rw quiet panic=-1 mitigations=off systemd.show_status=0 " + commandLine,
		"-drive", "file=" + run.disk() + ",format=raw,if=virtio,cache=unsafe",
		"-serial", "file:" + run.console(), "-serial", "stdio", "-monitor", "none",
	}
	if kvm {
		return append(argv, "-accel", "kvm", "-cpu", "host", "-smp", "2")
	}
	// -icount: the machine's time goes on by 4 ns for each instruction, so that nothing in it
	// runs into a time-out because this machine is slow or busy.
	return append(argv, "-accel", "tcg", "-cpu", "max", "-smp", "1", "-icount", "shift=2")
}
