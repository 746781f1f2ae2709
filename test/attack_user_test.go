//go:build testhost

package test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// setUserID is a program of root in the attack's image whose set-user-ID bit is on.
const setUserID = "/usr/sbin/set-user-id"

// reachBeyondUser tries what only root may do. The arguments are a
// directory that the program may write to, a file that only another user may read, and the
// number of a process of root.
func reachBeyondUser(arguments []string) map[string]string {
	own := filepath.Join(arguments[0], "of-the-payload")
	root, err := strconv.Atoi(arguments[2])
	if err == nil {
		err = os.WriteFile(own, nil, 0o600)
	}
	if err != nil {
		return map[string]string{attackFailed: err.Error()}
	}
	result := map[string]string{}
	for _, t := range []try{
		{"become root", raw(unix.SYS_SETUID)},
		{"become group root", raw(unix.SYS_SETGID)},
		{"leave its groups", raw(unix.SYS_SETGROUPS)},
		{"give a file to root", raw(unix.SYS_FCHOWNAT, cwd, cString(own), 0, 0)},
		{"read another's file", func() error { _, err := os.ReadFile(arguments[1]); return err }},
		{"replace another's file", func() error { return os.Rename(own, arguments[1]) }},
		{"signal the host's first process", raw(unix.SYS_KILL, 1)},
		{"signal the service", raw(unix.SYS_KILL, uintptr(root))},
		{"bring the service nearer to its end", func() error {
			return os.WriteFile("/proc/"+arguments[2]+"/oom_score_adj", []byte("1000"), 0)
		}},
		{"open the service's memory", func() error { _, err := os.Open("/proc/" + arguments[2] + "/mem"); return err }},
		{"see the service's files", func() error { _, err := os.ReadDir("/proc/" + arguments[2] + "/fd"); return err }},
		{"change a setting of the host", func() error { return os.WriteFile("/proc/sys/kernel/core_pattern", []byte("core"), 0) }},
		{"run with a higher priority", raw(unix.SYS_SETPRIORITY, unix.PRIO_PROCESS, 0, ^uintptr(19))},
	} {
		result[t.name] = onThread(t.call)
	}
	result["set-user-ID"] = asSetUserID()
	result["inotify"] = useUpInotify()
	return result
}

// cwd is AT_FDCWD as an argument of a call.
const cwd = ^uintptr(99)

// cString returns the address of a path that ends with a zero.
func cString(path string) uintptr {
	n := copy(scratch[:], path)
	scratch[n] = 0
	return pointer()
}

// asSetUserID returns as whom a set-user-ID program of root runs.
func asSetUserID() string {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, setUserID)
	cmd.Args[0] = os.Args[0] // this program looks at its name
	cmd.Env = []string{childVariable + "=" + sayUser}
	said, err := cmd.Output()
	if err != nil {
		return err.Error()
	}
	return string(said)
}

// sayUser has a payload's child print as whom it runs.
const sayUser = "user"

// useUpInotify takes all inotify instances that the kernel gives to this user, keeps
// them, and returns what it gets then.
func useUpInotify() string {
	for range 100_000 {
		if _, err := unix.InotifyInit1(unix.IN_CLOEXEC); err != nil {
			return errorName(err)
		}
	}
	return "ok"
}
