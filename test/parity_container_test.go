//go:build testhost

package test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// container looks at what the processes of the container share.
func (v view) container(t *testing.T, pids []int) {
	t.Helper()
	mounts := v.mounts(t)
	v.tree(t, mounts)
	v.devices(t)
	v.kernelFiles()
	v.openDevices(t)
	for _, name := range []string{"hostname", "domainname"} {
		v.set(name, run(t, "nsenter", "--uts", "--target="+strconv.Itoa(v.main), "cat", "/proc/sys/kernel/"+name))
	}
	for _, name := range []string{"ping_group_range", "ip_unprivileged_port_start", "ip_forward"} {
		value := run(t, "nsenter", "--net", "--target="+strconv.Itoa(v.main), "cat", "/proc/sys/net/ipv4/"+name)
		v.set("sysctl net.ipv4."+name, strings.Join(strings.Fields(value), " "))
	}
	for _, name := range []string{"hostname", "hosts", "resolv.conf", "passwd", "group"} {
		if text, err := os.ReadFile(v.path("/etc/" + name)); err == nil {
			v.set("content /etc/"+name, string(text))
		}
	}
	// Processes in the unit that are not the payload's.
	var others []string
	for _, pid := range processesIn(t, v.group) {
		if !slices.Contains(pids, pid) {
			name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
			others = append(others, strings.TrimSpace(string(name)))
		}
	}
	v.set("others in the unit", strings.Join(others, " "))
}

// path is a path of the container as the host reaches it.
func (v view) path(inside string) string { return fmt.Sprintf("/proc/%d/root%s", v.main, inside) }

// overlayPaths are the options of an overlay that name directories.
var overlayPaths = regexp.MustCompile(`(lowerdir\+?|upperdir|workdir|datadir)=([^,]*)`)

// mounts reads mountinfo (proc_pid_mountinfo(5)): type, options, what is mounted and how
// it is propagated. It returns the mount points.
func (v view) mounts(t *testing.T) []string {
	t.Helper()
	var targets []string
	for line := range strings.Lines(readFile(t, fmt.Sprintf("/proc/%d/mountinfo", v.main))) {
		own, device, _ := strings.Cut(line, " - ")
		f, d := strings.Fields(own), strings.Fields(device)
		root, target, options := f[3], f[4], f[5]
		propagation := "private"
		for _, tag := range f[6:] {
			name, _, _ := strings.Cut(tag, ":")
			propagation = name
		}
		superblock := overlayPaths.ReplaceAllStringFunc(d[2], func(option string) string {
			name, paths, _ := strings.Cut(option, "=")
			return fmt.Sprintf("%s=%d", name, strings.Count(paths, ":")+1)
		})
		name := "mount " + target
		if slices.Contains(targets, target) {
			name += " over itself"
		}
		targets = append(targets, target)
		v.set(name, fmt.Sprintf("%s %s; of %s; superblock %s; %s; %s", d[0], options, root, superblock, propagation, v.stat(target)))
	}
	return targets
}

// stat tells of a file of the container what ls -l would, without times.
func (v view) stat(inside string) string {
	var st unix.Stat_t
	path := v.path(inside)
	if err := unix.Lstat(path, &st); err != nil {
		return errorName(err)
	}
	text := fmt.Sprintf("%o %d:%d", st.Mode, st.Uid, st.Gid)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR, unix.S_IFBLK:
		text += fmt.Sprintf(" device %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		text += fmt.Sprintf(" to %s %v", target, err)
	case unix.S_IFREG:
		text += fmt.Sprintf(" size %d", st.Size)
	}
	return text
}

// tree looks at every file of the image, and not into mounts.
func (v view) tree(t *testing.T, mounts []string) {
	t.Helper()
	root := v.path("")
	err := filepath.WalkDir(root+"/", func(path string, _ fs.DirEntry, err error) error {
		inside := strings.TrimPrefix(path, root)
		switch {
		case err != nil:
			return err
		case inside != "/" && slices.Contains(mounts, inside):
			return skip(path)
		}
		v.set("file "+inside, withoutSticky(v.stat(inside), inside, mounts))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// withoutSticky takes the sticky bit, which crun gives the directories that it makes for a mount
// point, out of what stat tells of a directory above one.
func withoutSticky(text, inside string, mounts []string) string {
	above := func(mount string) bool { return strings.HasPrefix(mount, inside+"/") }
	if rest, ok := strings.CutPrefix(text, "41"); ok && slices.ContainsFunc(mounts, above) {
		return "40" + rest
	}
	return text
}

// skip leaves out a directory, or a file.
func skip(path string) error {
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		return fs.SkipDir
	}
	return nil
}

// devices looks at every file below /dev.
func (v view) devices(t *testing.T) {
	t.Helper()
	root := v.path("/dev")
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		inside := strings.TrimPrefix(path, root)
		v.set("dev /dev"+inside, v.stat("/dev"+inside))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// kernelFiles looks at the paths that engines mask or make read-only.
func (v view) kernelFiles() {
	for _, path := range []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
		"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
		"/proc/sys/kernel/core_pattern", "/proc/sys/net/ipv4/ip_forward", "/proc/1/environ",
		"/sys", "/sys/firmware", "/sys/fs/selinux", "/sys/fs/bpf", "/sys/kernel/debug", "/sys/devices/virtual/powercap",
		"/sys/fs/cgroup", "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/unified",
	} {
		v.set("proc "+path, v.look(path))
	}
}

// look tells whether there is something to read at a path, and whether root could write.
func (v view) look(inside string) string {
	path := v.path(inside)
	info, err := os.Lstat(path)
	if err != nil {
		return errorName(err)
	}
	var n int
	if info.IsDir() {
		var entries []os.DirEntry
		entries, err = os.ReadDir(path)
		n = len(entries)
	} else if file, openErr := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0); openErr == nil {
		n, err = file.Read(make([]byte, 1))
		file.Close()
	} else {
		err = openErr
	}
	text := errorName(err)
	if n > 0 {
		text = "something"
	}
	return fmt.Sprintf("to read: %s, to write: %s", text, errorName(unix.Access(path, unix.W_OK)))
}

// askedDevices are opened in the payload's control group: systemd's DevicePolicy= or the
// runtime's own filter must have the same say.
var askedDevices = []string{
	"c 1:1", "c 1:3", "c 1:5", "c 1:7", "c 1:8", "c 1:9", "c 1:11", "c 5:0", "c 5:1", "c 5:2", "c 10:200", "c 10:229", "c 10:237", "b 7:0", "b 8:0", "b 253:0",
}

// openDevices makes nodes outside of the container and opens them as a process of the
// payload's control group, with all capabilities.
func (v view) openDevices(t *testing.T) {
	t.Helper()
	dir, err := os.MkdirTemp("/dev", "parity") // other file systems have no devices
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	var nodes []string
	for _, device := range askedDevices {
		kind, major, minor := "", uint32(0), uint32(0)
		if _, err := fmt.Sscanf(strings.ReplaceAll(device, ":", " "), "%s %d %d", &kind, &major, &minor); err != nil {
			t.Fatal(err)
		}
		mode := uint32(unix.S_IFCHR)
		if kind == "b" {
			mode = unix.S_IFBLK
		}
		node := filepath.Join(dir, strings.NewReplacer(" ", "", ":", "-").Replace(device))
		if err := unix.Mknod(node, mode|0o600, int(unix.Mkdev(major, minor))); err != nil {
			v.set("device "+device, "mknod: "+errorName(err))
			continue
		}
		nodes = append(nodes, node)
	}
	script := `echo $$ >"$0/cgroup.procs" || exit; for node; do echo "$node $(head -c 0 "$node" 2>&1 && echo opens)"; done`
	text := run(t, append([]string{"sh", "-c", script, groupOf(t, v.main)}, nodes...)...)
	for line := range strings.Lines(text) {
		node, said, _ := strings.Cut(strings.TrimSpace(line), " ")
		name := filepath.Base(node)
		v.set("device "+name[:1]+" "+strings.ReplaceAll(name[1:], "-", ":"), said[strings.LastIndex(said, ": ")+1:])
	}
}

// groupOf returns the directory of a process's control group.
func groupOf(t *testing.T, pid int) string {
	t.Helper()
	for line := range strings.Lines(readFile(t, fmt.Sprintf("/proc/%d/cgroup", pid))) {
		if group, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return "/sys/fs/cgroup" + group
		}
	}
	t.Fatalf("process %d is in no control group", pid)
	return ""
}

// processesIn returns the processes of a control group and of those below it.
func processesIn(t *testing.T, group string) []int {
	t.Helper()
	var pids []int
	_ = filepath.WalkDir("/sys/fs/cgroup"+group, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Name() != "cgroup.procs" {
			return nil // it may have gone
		}
		text, _ := os.ReadFile(path)
		for _, number := range strings.Fields(string(text)) {
			pid, _ := strconv.Atoi(number)
			pids = append(pids, pid)
		}
		return nil
	})
	return pids
}
