// Package ociruntime finds the OCI runtimes of this host.
package ociruntime

import (
	"os"
	"path/filepath"
	"syscall"
)

// Default is the OCI runtime of the engine "runtime" for a profile that names none.
const Default = "crun"

// Directories are where OCI runtimes are looked for: only root may write there.
var Directories = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// Find returns the path of an OCI runtime on this host, "" if the host does not have it.
// name is the name of its program, or its absolute path.
func Find(name string) string { return findIn(Directories, name) }

func findIn(directories []string, name string) string {
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
