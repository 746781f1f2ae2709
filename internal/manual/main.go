// Command manual makes the manual pages of the interface from its definition: of the one in
// varlink from the .varlink file and its comments, of the one on D-Bus from the introspection
// data, with the same comments.
//
//	manual varlink io.tripleo.Sidecar.varlink >io.tripleo.Sidecar.7
//	manual dbus io.tripleo.Sidecar.varlink NAME.xml... >io.tripleo.Sidecar1.5
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "manual:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) < 2 {
		return fmt.Errorf("usage: manual varlink FILE | dbus FILE XML")
	}
	text, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	described, err := parseVarlink(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", args[1], err)
	}
	var page string
	switch args[0] {
	case "varlink":
		page = varlinkPage(described)
	case "dbus":
		var objects []object
		for _, file := range args[2:] {
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			o, err := parseIntrospection(text)
			if err != nil {
				return fmt.Errorf("%s: %w", filepath.Base(file), err)
			}
			objects = append(objects, o...)
		}
		page = dbusPage(described, objects)
	default:
		return fmt.Errorf("%q is neither varlink nor dbus", args[0])
	}
	_, err = io.WriteString(out, page)
	return err
}
