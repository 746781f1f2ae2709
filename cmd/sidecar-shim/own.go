package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ownName is the name that is none of a program or a script.
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

// own carries out a call by the shim's own name.
func own(name string, args []string, stdout io.Writer) error {
	switch {
	case name != ownName:
		return &usageError{fmt.Sprintf("there is no program or kill script %.60q to stand in for; 'sidecar-shim help' lists them", name)}
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
	return &usageError{fmt.Sprintf("%.200q is not understood; 'sidecar-shim help' says what is", args)}
}

func sortedNames[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }

// link makes symbolic links to this program in the directory. What is there already
// is replaced if it is a link, and never if it is a file: it could be the program.
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
			return fmt.Errorf("%s is there already and is no link; move the real program into /usr/libexec/sidecar/real first", path)
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
