package main

import (
	"context"
	"os"
	"time"

	"github.com/spf13/cobra"

	"tripleo.io/sidecar/interfaces"
)

// completeTimeout is how long a shell waits for suggestions.
const completeTimeout = 2 * time.Second

const noFiles = cobra.ShellCompDirectiveNoFileComp

// complete ties an option to a function that suggests values. That the option
// exists is tested.
func (t *tool) complete(cmd *cobra.Command, option string, suggest func(*cobra.Command) []string) {
	_ = cmd.RegisterFlagCompletionFunc(option, func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return suggest(cmd), noFiles
	})
}

// fixed ties an option to a few words.
func fixed(cmd *cobra.Command, option string, words ...string) {
	_ = cmd.RegisterFlagCompletionFunc(option, cobra.FixedCompletions(words, noFiles))
}

func (t *tool) firstID(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, noFiles
	}
	return t.ids(cmd), noFiles
}

func (t *tool) everyID(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return t.ids(cmd), noFiles
}

func (t *tool) idAndSignal(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return t.ids(cmd), noFiles
	case 1:
		return interfaces.Signals, noFiles
	}
	return nil, noFiles
}

// firstProfile suggests profiles; what comes after belongs to the program, and
// may well be a file.
func (t *tool) firstProfile(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return t.profileNames(cmd), noFiles
}

// ids asks the service. A shell wants no errors, so there are no suggestions then.
func (t *tool) ids(cmd *cobra.Command) []string {
	c, err := t.connect(false)
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
	defer cancel()
	sidecars, err := c.List(ctx, interfaces.ListParameters{})
	if err != nil {
		return nil
	}
	ids := make([]string, len(sidecars))
	for i, s := range sidecars {
		ids[i] = s.ID + "\t" + printable(stateWords(&s.Runtime))
	}
	return ids
}

func (t *tool) profileNames(cmd *cobra.Command) []string {
	c, err := t.connect(false)
	if err != nil {
		return nil
	}
	var agent *string
	if flag := cmd.Flags().Lookup("agent"); flag != nil && flag.Changed {
		value := flag.Value.String()
		agent = &value
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
	defer cancel()
	profiles, err := c.ListProfiles(ctx, agent)
	if err != nil {
		return nil
	}
	names := make([]string, len(profiles))
	for i, p := range profiles {
		names[i] = p.Name + "\t" + printable(p.Description)
	}
	return names
}

func namespaces(*cobra.Command) []string {
	entries, err := os.ReadDir("/run/netns")
	if err != nil {
		return nil
	}
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name()
	}
	return names
}

func directories(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}
