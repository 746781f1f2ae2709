// Command sidecar-shim stands in an agent's image in place of the programs that
// Neutron starts, and of its kill scripts. It is one binary under many names: the name
// that it is called by decides what it does. See sidecar-shim(1).
//
//	dnsmasq, haproxy, …        one launch through the service; probes and control
//	                           calls become the real program
//	dnsmasq-kill, …  SIG PID   a signal through the service
//	sidecar-shim               help, version, and links of these names
//
// A launch ends when the sidecar is ready, and leaves no process behind, except a
// stand-in for an agent with a pid namespace of its own (standin.go).
//
// Only failure.go knows exit codes and advice; only process.go reads /proc.
package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
)

// version is stamped by the linker (-X main.version=…).
var version = ""

// ownName is the shim's own name.
const ownName = "sidecar-shim"

const helpText = `sidecar-shim stands in for the programs and kill scripts of OpenStack Neutron.
What it does depends on the name that it is called by:

  programs      %s
  kill scripts  %s

Called by its own name it can

  sidecar-shim link programs DIRECTORY      make links for the programs
  sidecar-shim link kill-scripts DIRECTORY  make links for the kill scripts
  sidecar-shim version

See sidecar-shim(1).
`

func main() {
	os.Exit(run(os.Args, os.Stdout, os.Stderr))
}

// run carries out the call that the name in argv[0] means, and returns the exit code.
func run(argv []string, stdout, stderr io.Writer) int {
	if len(argv) == 0 {
		argv = []string{ownName}
	}
	name, args := filepath.Base(argv[0]), argv[1:]
	var err error
	if identity, ok := os.LookupEnv(standInVariable); ok {
		err = beStandIn(name, identity)
	} else if p, ok := programs[name]; ok {
		switch p.what(args) {
		case toReal:
			err = execReal(name, args)
		case toStop:
			err = runStop(name, args)
		case toService:
			err = runLaunch(p, name, args)
		}
	} else if targets, ok := scripts[name]; ok {
		err = runScript(targets, args)
	} else {
		err = own(name, args, stdout)
	}
	return report(stderr, name, err)
}

// printLine prints one line on standard error, with the name of the program.
func printLine(to io.Writer, name, text string) {
	fmt.Fprintf(to, "%s: sidecar: %s\n", name, strings.ReplaceAll(strings.TrimSpace(text), "\n", "; "))
}

// own carries out a call by the shim's own name.
func own(name string, args []string, stdout io.Writer) error {
	switch {
	case name != ownName:
		return &usageError{fmt.Sprintf("%.60q is not a program or kill script of the shim; 'sidecar-shim help' lists them", name)}
	case len(args) == 0, len(args) == 1 && slices.Contains([]string{"help", "--help", "-h"}, args[0]):
		_, err := fmt.Fprintf(stdout, helpText, strings.Join(sortedNames(programs), " "), strings.Join(sortedNames(scripts), " "))
		return err
	case len(args) == 1 && slices.Contains([]string{"version", "--version"}, args[0]):
		_, err := fmt.Fprintln(stdout, ownVersion(version))
		return err
	case len(args) == 3 && args[0] == "link" && args[1] == "programs":
		names := slices.DeleteFunc(sortedNames(programs), func(name string) bool { return programs[name].byHand })
		return link(args[2], names)
	case len(args) == 3 && args[0] == "link" && args[1] == "kill-scripts":
		return link(args[2], sortedNames(scripts))
	}
	return &usageError{fmt.Sprintf("%.200q is not understood; 'sidecar-shim help' lists the commands", args)}
}

func sortedNames[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }

// ownVersion falls back to the version that the go command recorded in the binary.
func ownVersion(stamped string) string {
	if stamped != "" {
		return stamped
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

// link makes symbolic links to this program in the directory. It replaces links, and
// never a file, which could be the program.
func link(directory string, names []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, name := range names {
		path := filepath.Join(directory, name)
		info, err := os.Lstat(path)
		switch {
		case err == nil && info.Mode()&fs.ModeSymlink == 0:
			return fmt.Errorf("%s exists and is not a link; move the real program into /usr/libexec/sidecar/real first", path)
		case err == nil:
			err = os.Remove(path)
		case errors.Is(err, fs.ErrNotExist):
			err = nil
		}
		if err == nil {
			err = os.Symlink(self, path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
