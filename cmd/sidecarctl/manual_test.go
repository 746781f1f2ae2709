package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/doctor"
)

// commands returns the root and all commands below it that a user sees.
func commands(root *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{root}
	for _, cmd := range root.Commands() {
		if !cmd.Hidden {
			all = append(all, commands(cmd)...)
		}
	}
	return all
}

// TestHelpSaysEverything: the help texts are the source of the manual pages.
func TestHelpSaysEverything(t *testing.T) {
	t.Parallel()
	for _, cmd := range commands(newRoot(&tool{out: &printer{}})) {
		name := cmd.CommandPath()
		if cmd.Short == "" || cmd.Long == "" {
			t.Errorf("%s has no help text", name)
		}
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if value, usage := pflag.UnquoteUsage(f); usage == "" || strings.EqualFold(value, "string") || value == "int" || value == "strings" {
				t.Errorf("%s --%s: %q takes %q: name the value in backquotes", name, f.Name, usage, value)
			}
		})
		for line := range strings.Lines(cmd.Long) {
			if len(line) > 100 {
				t.Errorf("%s: a line of more than 100 bytes: %q", name, line)
			}
			// A table that is not indented by four spaces would be one paragraph in the manual.
			if text := strings.TrimRight(line, "\n"); strings.Contains(text, "   ") && !strings.HasPrefix(text, "    ") {
				t.Errorf("%s: %q is not indented by four spaces", name, text)
			}
		}
	}
	text := func(args ...string) string {
		cmd, _, err := newRoot(&tool{out: &printer{}}).Find(args)
		if err != nil {
			t.Fatal(err)
		}
		return cmd.Long
	}
	for _, look := range doctor.Looks {
		if !strings.Contains(text("doctor"), "\n    "+look.Name+" ") {
			t.Errorf("doctor's help does not have the look %s", look.Name)
		}
	}
	for _, signal := range interfaces.Signals {
		if !strings.Contains(text("signal"), signal) {
			t.Errorf("signal's help does not have %s", signal)
		}
	}
	for _, mode := range interfaces.LaunchModes {
		if !strings.Contains(text("launch"), "\n    "+string(mode)+" ") {
			t.Errorf("launch's help does not have the mode %s", mode)
		}
	}
}

// TestHelpNamesNothingElse: every option and command that a help text names exists.
func TestHelpNamesNothingElse(t *testing.T) {
	t.Parallel()
	root := newRoot(&tool{out: &printer{}})
	known := map[string]bool{"help": true, "unbuffered": true} // jq's
	names := map[string]bool{"bridge": true, "completion": true, "asks": true}
	for _, cmd := range commands(root) {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) { known[f.Name] = true })
		for _, name := range append(cmd.Aliases, cmd.Name()) {
			names[name] = true
		}
	}
	for _, cmd := range commands(root) {
		words := strings.FieldsFunc(cmd.Long, func(r rune) bool { return strings.ContainsRune(" \n[]|,=;.()'", r) })
		for i, word := range words {
			if name, ok := strings.CutPrefix(word, "--"); ok && name != "" && !known[name] {
				t.Errorf("%s: its help has --%s, the tool has not", cmd.CommandPath(), name)
			}
			if word == "sidecarctl" && i+1 < len(words) && !names[words[i+1]] {
				t.Errorf("%s: its help has 'sidecarctl %s', which does not exist", cmd.CommandPath(), words[i+1])
			}
		}
	}
}
