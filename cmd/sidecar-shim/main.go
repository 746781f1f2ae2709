// Command sidecar-shim stands in an agent's image in place of the programs that
// Neutron starts, and of its kill scripts. It is one binary under many names: what
// it does depends on the name that it is called by. See sidecar-shim(1).
//
//	dnsmasq, haproxy, …        one launch through the service; probes and control
//	                           calls go to the real program
//	dnsmasq-kill, …  SIG PID   a signal through the service
//	sidecar-shim               help, version, and links of these names
//
// A launch ends when the sidecar is ready, and leaves nothing behind; only for an
// agent with a pid namespace of its own it leaves a stand-in (standin.go).
//
// Each thing it does has a file of its own. Only failure.go knows exit codes and
// what to advise; only process.go reads /proc.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
)

// version is stamped by the linker (-X main.version=…).
var version = ""

func main() {
	os.Exit(run(os.Args, os.Stdout, os.Stderr))
}

// run does what the name in argv[0] says and returns the exit code.
func run(argv []string, stdout, stderr io.Writer) int {
	if len(argv) == 0 {
		argv = []string{ownName}
	}
	name := filepath.Base(argv[0])
	if identity, ok := os.LookupEnv(standInVariable); ok {
		return report(stderr, name, beStandIn(name, identity))
	}
	if p, ok := programs[name]; ok {
		return runProgram(p, name, argv[1:], stderr)
	}
	if targets, ok := scripts[name]; ok {
		return report(stderr, name, runScript(targets, argv[1:]))
	}
	return report(stderr, name, own(name, argv[1:], stdout))
}

// runProgram carries out a call in a program's name.
func runProgram(p program, name string, args []string, stderr io.Writer) int {
	var err error
	switch p.what(args) {
	case toReal:
		err = execReal(name, args)
	case toStop:
		err = runStop(name, args)
	default:
		err = runLaunch(p, name, args)
	}
	return report(stderr, name, err)
}

// ownVersion falls back to what the go command recorded in the binary.
func ownVersion(stamped string) string {
	if stamped != "" {
		return stamped
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

// printLine prints one line on standard error that says who speaks.
func printLine(to io.Writer, name, text string) {
	fmt.Fprintf(to, "%s: sidecar: %s\n", name, strings.ReplaceAll(strings.TrimSpace(text), "\n", "; "))
}
