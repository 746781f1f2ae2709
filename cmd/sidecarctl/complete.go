package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"tripleo.io/sidecar/interfaces"
)

const noFiles = cobra.ShellCompDirectiveNoFileComp

// complete has an option's values suggested by a function. The tests know that the option
// exists.
func complete(cmd *cobra.Command, option string, suggest func(*cobra.Command) []string) {
	_ = cmd.RegisterFlagCompletionFunc(option, func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return suggest(cmd), noFiles
	})
}

func completeWords(cmd *cobra.Command, option string, words []string) {
	_ = cmd.RegisterFlagCompletionFunc(option, cobra.FixedCompletions(words, noFiles))
}

// completeIDs suggests IDs for the first arguments, and words for the next one.
func (t *tool) completeIDs(first int, words ...string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		switch {
		case len(args) < first:
			return t.ids(cmd), noFiles
		case len(args) == first:
			return words, noFiles
		}
		return nil, noFiles
	}
}

// completeProfile suggests profiles. The arguments after it are the program's, and may be
// files.
func (t *tool) completeProfile(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return t.profileNames(cmd), noFiles
}

func (t *tool) ids(cmd *cobra.Command) (ids []string) {
	t.ask(cmd, func(ctx context.Context, s service) {
		sidecars, _ := s.List(ctx, interfaces.ListParameters{})
		for _, sidecar := range sidecars {
			ids = append(ids, sidecar.ID+"\t"+printable(stateWords(&sidecar.Runtime)))
		}
	})
	return ids
}

func (t *tool) profileNames(cmd *cobra.Command) (names []string) {
	var agent *string
	if flag := cmd.Flags().Lookup("agent"); flag != nil && flag.Changed {
		agent = new(flag.Value.String())
	}
	t.ask(cmd, func(ctx context.Context, s service) {
		profiles, _ := s.ListProfiles(ctx, agent)
		for _, p := range profiles {
			names = append(names, p.Name+"\t"+printable(p.Description))
		}
	})
	return names
}

// ask asks the service for suggestions. Errors are dropped: a shell cannot show them.
func (t *tool) ask(cmd *cobra.Command, call func(ctx context.Context, s service)) {
	ctx, cancel := context.WithTimeout(cmd.Context(), infoTimeout)
	defer cancel()
	if s, err := t.connect(false); err == nil {
		call(ctx, s)
	}
}

func namespaces(*cobra.Command) (names []string) {
	entries, _ := os.ReadDir("/run/netns") // it exists when the first namespace does
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func directories(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}
