//go:build testhost

package test

import (
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// askDescriptors asks every descriptor that the program was given for its network
// namespace (SIOCGSKNS). A result is by what the descriptor is open on: "own",
// "another", or the error.
func askDescriptors([]string) map[string]string {
	names, err := filepath.Glob("/proc/self/fd/*")
	var own unix.Stat_t
	if err == nil {
		err = unix.Stat("/proc/self/ns/net", &own)
	}
	if err != nil {
		return map[string]string{attackFailed: err.Error()}
	}
	result := map[string]string{}
	for _, name := range names {
		target, err := os.Readlink(name)
		if err != nil {
			continue // the one of the directory
		}
		fd, err := strconv.Atoi(filepath.Base(name))
		if err != nil {
			return map[string]string{attackFailed: err.Error()}
		}
		result[target] = askNamespace(fd, own)
	}
	return result
}

func askNamespace(fd int, own unix.Stat_t) string {
	ns, err := unix.IoctlRetInt(fd, unix.SIOCGSKNS)
	if err != nil {
		return errorName(err)
	}
	defer unix.Close(ns)
	var st unix.Stat_t
	if err := unix.Fstat(ns, &st); err != nil {
		return errorName(err)
	}
	if st.Dev == own.Dev && st.Ino == own.Ino {
		return "own"
	}
	return "another"
}
