package service

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/policy"
)

// defaultRuntime is the OCI runtime of the engine "runtime" for a profile that names none.
const defaultRuntime = "crun"

// runtimeDirectories are where OCI runtimes are looked for: only root may write there.
var runtimeDirectories = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// HostRuntime returns the path of an OCI runtime on this host, "" if the host does not have it.
// name is the name of its program, or its absolute path.
func HostRuntime(name string) string { return runtimeIn(runtimeDirectories, name) }

func runtimeIn(directories []string, name string) string {
	if filepath.IsAbs(name) {
		if isRootsProgram(name) {
			return name
		}
		return ""
	}
	for _, dir := range directories {
		if path := filepath.Join(dir, name); isRootsProgram(path) {
			return path
		}
	}
	return ""
}

// isRootsProgram reports whether the path leads to a program that only root may write or replace.
func isRootsProgram(path string) bool {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false
	}
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
		return false
	}
	for ; isRoots(info); path = filepath.Dir(path) {
		if path == "/" {
			return true
		}
		if info, err = os.Stat(filepath.Dir(path)); err != nil {
			return false
		}
	}
	return false
}

// isRoots reports whether only root may write a file, or replace root's files in a directory.
func isRoots(info os.FileInfo) bool {
	return (info.Mode().Perm()&0o022 == 0 || info.Mode()&os.ModeSticky != 0) && info.Sys().(*syscall.Stat_t).Uid == 0
}

// RuntimeChoice is the OCI runtime of a launch.
type RuntimeChoice struct {
	Path    string   // "": the engine's own
	Missing []string // the profile's runtimes, if the host has none of them and the engine's own is used
}

// chooseRuntime returns the first of the profile's OCI runtimes that the host has, and otherwise
// the engine's own.
func (c *Core) chooseRuntime(p *policy.Profile) (RuntimeChoice, error) {
	for _, name := range p.Runtimes {
		if path := c.Runtime(name); path != "" {
			return RuntimeChoice{Path: path}, nil
		}
	}
	if p.RuntimeRequired {
		return RuntimeChoice{}, noRuntime(p, p.Runtimes, ", and runtime-required forbids to use another one")
	}
	choice := RuntimeChoice{Missing: p.Runtimes}
	if p.Engine != interfaces.EngineRuntime {
		return choice, nil
	}
	if choice.Path = c.Runtime(defaultRuntime); choice.Path == "" {
		return RuntimeChoice{}, noRuntime(p, append(p.Runtimes[:len(p.Runtimes):len(p.Runtimes)], defaultRuntime),
			`, and engine = "runtime" needs one`)
	}
	return choice, nil
}

// noRuntime is the error of a launch for which the host lacks an OCI runtime.
func noRuntime(p *policy.Profile, names []string, why string) error {
	return &interfaces.HostFailureError{Reason: fmt.Sprintf(
		"profile %s: the host has none of the OCI runtimes %s in %s%s",
		p.Name, strings.Join(names, ", "), strings.Join(runtimeDirectories, ", "), why)}
}
