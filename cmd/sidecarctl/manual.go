//go:build manual

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
)

// main, with the tag "manual", writes the manual pages of sidecarctl and of its commands into a
// directory. Their source is the help texts, which are also Markdown: a text that is indented
// by four spaces is shown as it is.
func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run -tags manual ./cmd/sidecarctl DIRECTORY")
		os.Exit(2)
	}
	root := newRoot(&tool{out: &printer{now: time.Now}})
	root.DisableAutoGenTag = true // a page that is made twice is the same
	describe(root.PersistentFlags())
	if err := writePages(root, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "manual:", err)
		os.Exit(1)
	}
}

// writePages writes the pages of a command and of those below it.
func writePages(cmd *cobra.Command, directory string) error {
	cmd.InitDefaultHelpFlag()
	if cmd.HasSubCommands() {
		cmd.Use = cmd.Name() + " COMMAND [ARGUMENT…]"
		cmd.Long += "\n\nThe commands, each with a page of its own:\n"
		for _, below := range available(cmd) {
			cmd.Long += fmt.Sprintf("\n    %-10s %s", below.Name(), below.Short)
		}
	}
	describe(cmd.LocalNonPersistentFlags())
	var page bytes.Buffer
	header := &doc.GenManHeader{Section: "1", Source: "sidecar", Manual: "User commands", Date: new(time.Time)}
	if err := doc.GenMan(cmd, header, &page); err != nil {
		return err
	}
	name := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".1"
	if err := os.WriteFile(filepath.Join(directory, name), plain(page.Bytes()), 0o644); err != nil {
		return err
	}
	for _, below := range available(cmd) {
		if err := writePages(below, directory); err != nil {
			return err
		}
	}
	return nil
}

// available returns the commands below cmd that a user sees.
func available(cmd *cobra.Command) []*cobra.Command {
	return slices.DeleteFunc(slices.Clone(cmd.Commands()), func(c *cobra.Command) bool { return !c.IsAvailableCommand() })
}

// describe has an option's value shown as --help shows it: the generator would show the default
// in its place.
func describe(flags *pflag.FlagSet) {
	flags.VisitAll(func(f *pflag.Flag) {
		name, usage := pflag.UnquoteUsage(f)
		switch f.DefValue {
		case "", "false", "[]", "0s":
		default:
			usage += " (default " + f.DefValue + ")"
		}
		f.Usage, f.DefValue = usage, name
	})
}

var (
	option = regexp.MustCompile(`(?m)^(?:\.PP\n)?(\\fB.*)\n\t`)
	value  = regexp.MustCompile(`(?m)^(\\fB.*\\fP)="?([^"\n]+)"?$`)
)

// plain makes a list of the options, which the generator writes with tabs, and leaves the date
// out.
func plain(page []byte) []byte {
	page = bytes.Replace(page, []byte(`"Jan 0001"`), []byte(`""`), 1)
	page = option.ReplaceAll(page, []byte(".TP\n$1\n"))
	page = bytes.ReplaceAll(page, []byte("[=]\n"), []byte("\n"))
	return value.ReplaceAll(page, []byte(`$1=\fI$2\fP`))
}
