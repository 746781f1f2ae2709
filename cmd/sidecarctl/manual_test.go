package main

import (
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/doctor"
)

// TestManualNamesEverything shows that no command, option, signal or exit
// code is missing in the manual page.
func TestManualNamesEverything(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("sidecarctl.1")
	if err != nil {
		t.Fatal(err)
	}
	manual := strings.ReplaceAll(string(page), `\-`, "-")
	want := func(s string) {
		if !strings.Contains(manual, s) {
			t.Errorf("the manual does not have %q", s)
		}
	}
	root := newRoot(&tool{out: &printer{}})
	root.InitDefaultCompletionCmd()
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) { want("--" + f.Name) })
	commands := map[string]*cobra.Command{}
	for _, cmd := range root.Commands() {
		commands[cmd.Name()] = cmd
		want("\n.B sidecarctl " + cmd.Name())
	}
	for name, cmd := range commands {
		section := manual[strings.Index(manual, "\n.B sidecarctl "+name)+1:]
		section, _, _ = strings.Cut(section, "\n.TP\n.B sidecarctl ")
		cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			if !strings.Contains(section, "--"+f.Name) {
				t.Errorf("the manual of %s does not have --%s", name, f.Name)
			}
		})
	}
	for _, look := range doctor.Looks {
		want("\n.TP\n.B " + look.Name + "\n")
	}
	for _, signal := range interfaces.Signals {
		want(signal)
	}
	for _, code := range []string{"0", "1", "2", "3", "4", "5", "6", "7", "8"} {
		want("\n.TP\n.B " + code + "\n")
	}
}

// TestManualNamesNothingElse shows that every option in the manual exists.
func TestManualNamesNothingElse(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("sidecarctl.1")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{"help": true}
	root := newRoot(&tool{out: &printer{}})
	commands := append(root.Commands(), root)
	for _, cmd := range root.Commands() {
		commands = append(commands, cmd.Commands()...)
	}
	for _, cmd := range commands {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) { known[f.Name] = true })
	}
	manual, _, _ := strings.Cut(strings.ReplaceAll(string(page), `\-`, "-"), ".SH EXAMPLES")
	for _, field := range strings.FieldsFunc(manual, func(r rune) bool { return strings.ContainsRune(" \n[]|,=", r) }) {
		if name, ok := strings.CutPrefix(field, "--"); ok && name != "" && !known[name] {
			t.Errorf("the manual has --%s, the tool has not", name)
		}
	}
}
