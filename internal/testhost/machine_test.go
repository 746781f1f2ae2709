package testhost

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestMachineArgs(t *testing.T) {
	t.Parallel()
	run := runDir{path: "/c/run/host-1"}
	for kvm, want := range map[bool]string{true: "-accel kvm -cpu host", false: "-accel tcg -cpu max"} {
		argv := qemuArgs(run, "/t/vmlinuz", "/t/initrd", "apparmor=1", kvm)
		line := strings.Join(argv, " ")
		for _, part := range []string{want, "file=/c/run/host-1/disk,", "file:/c/run/host-1/console.log", "-kernel /t/vmlinuz -initrd /t/initrd"} {
			if !strings.Contains(line, part) {
				t.Errorf("kvm %t: no %q in %s", kvm, part, line)
			}
		}
		if i := slices.Index(argv, "-append"); !strings.HasSuffix(argv[i+1], " apparmor=1") {
			t.Errorf("kernel's command line %q", argv[i+1])
		}
	}
}

func TestMachineFindsItsKernel(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if _, _, err := kernelOf(root); err == nil || !strings.Contains(err.Error(), "0 files boot/vmlinuz-*") {
		t.Errorf("without a kernel: %v", err)
	}
	for _, name := range []string{"boot/vmlinuz-6.12", "boot/initrd.img-6.12"} {
		if err := writeFile(root, name, "", 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kernel, initrd, err := kernelOf(root)
	if err != nil || kernel != filepath.Join(root, "boot/vmlinuz-6.12") || initrd != filepath.Join(root, "boot/initrd.img-6.12") {
		t.Errorf("%s, %s, %v", kernel, initrd, err)
	}
}

func TestMachineMustBeInTheSpecification(t *testing.T) {
	t.Parallel()
	_, err := RunMachine(t.Context(), Machine{Config: Config{Release: "trixie"}, Name: "smack"})
	if err == nil || !strings.Contains(err.Error(), `machine "smack": not in the specification`) {
		t.Error(err)
	}
	spec := Spec{Machine: map[string]MachineSpec{"two words": {}}}
	if err := spec.validate(); err == nil {
		t.Error("a name with a space is taken")
	}
}
