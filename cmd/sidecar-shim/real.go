package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// guardVariable is set for the real program: NAME:PID of who called it. If that is
// again a shim, in this process or its child, the search went round in a circle.
const guardVariable = "SIDECAR_SHIM_REAL"

// execReal becomes the real program of this name. It returns only with an error.
func execReal(name string, args []string) error {
	if isGuarded(os.Getenv(guardVariable), name, os.Getpid(), os.Getppid()) {
		return fmt.Errorf("the %s that was called as the real program leads to sidecar-shim again; make the shims links to one file, and name the directory of the real programs in %s", name, settingsFile)
	}
	s, err := readSettings(settingsFile)
	if err != nil {
		return err
	}
	path, err := findReal(name, s.Programs)
	if err != nil {
		return err
	}
	environment := append(os.Environ(), guardVariable+"="+name+":"+strconv.Itoa(os.Getpid()))
	err = syscall.Exec(path, append([]string{name}, args...), environment)
	return fmt.Errorf("%s: %w", path, err)
}

// isGuarded reports whether the guard was set by a shim of this name that became,
// or started, process pid.
func isGuarded(guard, name string, pid, parent int) bool {
	by, number, ok := strings.Cut(guard, ":")
	return ok && by == name && (number == strconv.Itoa(pid) || number == strconv.Itoa(parent))
}

// findReal returns the first program of this name in the directories that is not
// this one under another name.
func findReal(name string, directories []string) (string, error) {
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		return "", err
	}
	shims := 0
	for _, directory := range directories {
		path := filepath.Join(directory, name)
		info, err := os.Stat(path)
		switch {
		case err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0:
		case os.SameFile(self, info):
			shims++
		default:
			return path, nil
		}
	}
	where := strings.Join(directories, ", ")
	if shims > 0 {
		where += fmt.Sprintf(" (%d of which hold the shim itself)", shims)
	}
	return "", fmt.Errorf("this call is for the real %s, and there is none in %s; put it into /usr/libexec/sidecar/real, or name its directory in %s (%w)", name, where, settingsFile, errNoProgram)
}

// errNoProgram means what the shell's exit code 127 means.
var errNoProgram = errors.New("command not found")
