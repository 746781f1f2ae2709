package seccomp

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// filter is the part of containers/common's format that seccomp.json may use.
type filter struct {
	DefaultAction   string `json:"defaultAction"`
	DefaultErrnoRet int    `json:"defaultErrnoRet"`
	Syscalls        []rule `json:"syscalls"`
}

type rule struct {
	Comment  string   `json:"comment"`
	Names    []string `json:"names"`
	Action   string   `json:"action"`
	ErrnoRet int      `json:"errnoRet"`
	Args     []match  `json:"args"`
	Includes limit    `json:"includes"`
	Excludes limit    `json:"excludes"`
}

// match compares an argument's bits in the mask Value with ValueTwo.
type match struct {
	Index    uint   `json:"index"`
	Value    uint64 `json:"value"`
	ValueTwo uint64 `json:"valueTwo"`
	Op       string `json:"op"`
}

type limit struct {
	Arches []string `json:"arches"`
}

const (
	allow = "SCMP_ACT_ALLOW"
	errno = "SCMP_ACT_ERRNO"

	eperm  = 1
	enosys = 38
)

// architectures are those that the filter is written for, by Go's names.
var architectures = []string{"amd64", "arm64", "ppc64le", "riscv64", "s390x"}

func shipped(t *testing.T) filter {
	t.Helper()
	return read(t, "seccomp.json")
}

func read(t *testing.T, name string) filter {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var f filter
	decoder := json.NewDecoder(file)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&f); err != nil {
		t.Fatal(err)
	}
	return f
}

// holds reports whether the rule is for an architecture.
func (r rule) holds(arch string) bool {
	return !slices.Contains(r.Excludes.Arches, arch) &&
		(len(r.Includes.Arches) == 0 || slices.Contains(r.Includes.Arches, arch))
}

func (r rule) matches(args []uint64) bool {
	for _, m := range r.Args {
		if args[m.Index]&m.Value != m.ValueTwo {
			return false
		}
	}
	return true
}

// errno returns what a call gets from the filter, as libseccomp builds it: 0 if it
// is let through. A rule without a condition goes before all others for the call.
func (f filter) errno(arch, name string, args ...uint64) int {
	args = append(args, make([]uint64, 6)...)
	var found *rule
	for i, r := range f.Syscalls {
		if r.holds(arch) && slices.Contains(r.Names, name) && r.matches(args) && (found == nil || len(r.Args) == 0) {
			found = &f.Syscalls[i]
		}
	}
	switch {
	case found == nil:
		return f.DefaultErrnoRet
	case found.Action == allow:
		return 0
	}
	return found.ErrnoRet
}

func TestHardeningSeccompFile(t *testing.T) {
	t.Parallel()
	f := shipped(t)
	if f.DefaultAction != errno || f.DefaultErrnoRet != eperm {
		t.Errorf("by default it says %s %d, want %s %d", f.DefaultAction, f.DefaultErrnoRet, errno, eperm)
	}
	type call struct{ arch, name string }
	conditional := map[call]bool{} // whether its rules have conditions
	for _, r := range f.Syscalls {
		if r.Comment == "" || len(r.Names) == 0 || !slices.IsSorted(r.Names) {
			t.Errorf("%q (%q): it needs a comment, and names in their order", r.Names, r.Comment)
		}
		if r.Action != allow && (r.Action != errno || r.ErrnoRet != enosys) {
			t.Errorf("%q: %s %d, want %s, or %s %d", r.Names, r.Action, r.ErrnoRet, allow, errno, enosys)
		}
		for _, name := range r.Names {
			for _, arch := range architectures {
				if !r.holds(arch) {
					continue
				}
				had, known := conditional[call{arch, name}]
				if known && (!had || len(r.Args) == 0) {
					t.Errorf("%s has a rule without a condition, and another one, on %s", name, arch)
				}
				conditional[call{arch, name}] = len(r.Args) > 0
			}
		}
		checkMatches(t, r)
	}
}

// checkMatches holds conditions to the 32 bits that the kernel looks at. Two for the
// same argument in one rule would be joined by "or" in one runtime and by "and" in
// another.
func checkMatches(t *testing.T, r rule) {
	t.Helper()
	seen := map[uint]bool{}
	for _, m := range r.Args {
		if m.Op != "SCMP_CMP_MASKED_EQ" || m.Value == 0 || m.Value>>32 != 0 || m.ValueTwo&^m.Value != 0 {
			t.Errorf("%q (%s): %+v is no comparison of 32 bits", r.Names, r.Comment, m)
		}
		if m.Index > 5 || seen[m.Index] {
			t.Errorf("%q (%s): argument %d is not one of six, or is there twice", r.Names, r.Comment, m.Index)
		}
		seen[m.Index] = true
	}
}

// TestHardeningSeccompForbids: none of these is let through with any argument.
func TestHardeningSeccompForbids(t *testing.T) {
	t.Parallel()
	f := shipped(t)
	for what, names := range map[string]string{
		"keys":                "add_key keyctl request_key",
		"namespaces, roots":   "chroot pivot_root setns unshare",
		"mounts":              "fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree open_tree_attr umount umount2 listmount statmount listns",
		"other processes":     "kcmp pidfd_getfd process_madvise process_mrelease process_vm_readv process_vm_writev ptrace",
		"kernel's machinery":  "bpf io_uring_enter io_uring_register io_uring_setup perf_event_open userfaultfd io_setup io_submit modify_ldt",
		"files by handle":     "fanotify_init fanotify_mark name_to_handle_at open_by_handle_at",
		"programs from afar":  "execveat memfd_create memfd_secret mknod mknodat remap_file_pages uselib",
		"the host":            "acct delete_module finit_module init_module ioperm iopl kexec_file_load kexec_load lookup_dcookie quotactl quotactl_fd reboot setdomainname sethostname swapoff swapon sync syncfs syslog vhangup",
		"the host's time":     "adjtimex clock_adjtime clock_settime settimeofday stime",
		"the process's kind":  "personality",
		"counted by the user": "mq_open msgget semget shmget",
		"a way around":        "ipc socketcall syscall",
	} {
		for name := range strings.FieldsSeq(names) {
			for _, r := range f.Syscalls {
				if slices.Contains(r.Names, name) && r.Action == allow {
					t.Errorf("%s: %s is let through (%s)", what, name, r.Comment)
				}
			}
		}
	}
}
