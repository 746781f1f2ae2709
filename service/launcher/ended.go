package launcher

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/service/document"
)

// filesLimit bounds RemovePIDFiles: an agent can make the kernel wait in its directories.
const filesLimit = time.Second

// RemovePIDFiles removes the pid files of a payload that has ended, before the kernel gives its
// numbers to other processes. It must be called in the unit, in ExecStopPost.
func (l Launcher) RemovePIDFiles(d *document.Document) error {
	done := make(chan error, 1)
	go func() {
		var errs []error
		for _, f := range d.PIDFiles {
			errs = append(errs, removeEnded(f, isOurs))
		}
		done <- errors.Join(errs...)
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(filesLimit):
		return fmt.Errorf("removing the pid files: not done after %v", filesLimit)
	}
}

// removeEnded removes a pid file unless it names a process outside of the unit. Such a number is
// another program's, or a stand-in's in the agent's pid namespace: the stand-in removes it, if
// no process of the host happens to have the number.
func removeEnded(f document.File, ours func(pid int) (bool, error)) error {
	file, err := openPayloadFile(f, f.String(), unix.S_IFREG)
	if err != nil {
		return ignoreNotReady(err)
	}
	defer file.close()
	number, err := readPID(file.File)
	if err != nil {
		return ignoreNotReady(err)
	}
	// 1 is a number that was not translated: the payload ended before it was ready.
	if number != 1 && unix.Kill(number, 0) != unix.ESRCH {
		if is, err := ours(number); !is {
			return err
		}
	}
	err = unix.Unlinkat(int(file.dir.Fd()), path.Base(f.Path), 0)
	if err != nil && err != unix.ENOENT {
		return fmt.Errorf("removing %s: %v", f, err)
	}
	return nil
}

// isOurs reports whether a process is of our own unit.
func isOurs(pid int) (bool, error) {
	table, err := ownCgroup("/proc")
	if err != nil {
		return false, err
	}
	all, err := table()
	return slices.ContainsFunc(all, func(p Process) bool { return p.PID == pid }), err
}

// ignoreNotReady drops the error of a pid file that does not exist or holds no number.
func ignoreNotReady(err error) error {
	if _, ok := errors.AsType[notReady](err); ok {
		return nil
	}
	return err
}
