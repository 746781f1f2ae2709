package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"tripleo.io/sidecar/interfaces"
)

const noFiles = cobra.ShellCompDirectiveNoFileComp

// completeIDs suggests IDs for the first arguments, and words for the next one.
func (t *tool) completeIDs(first int, words ...string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) (ids []string, _ cobra.ShellCompDirective) {
		switch {
		case len(args) == first:
			return words, noFiles
		case len(args) > first:
			return nil, noFiles
		}
		t.ask(cmd, func(ctx context.Context, s service) {
			sidecars, _ := s.List(ctx, interfaces.ListParameters{})
			for _, sidecar := range sidecars {
				ids = append(ids, sidecar.ID+"\t"+printable(stateWords(&sidecar.Runtime)))
			}
		})
		return ids, noFiles
	}
}

// completeProfile suggests profiles. The arguments after a profile are the program's, and
// may be files.
func (t *tool) completeProfile(cmd *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
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
	return names, noFiles
}

// ask asks the service for suggestions. Errors are dropped: a shell cannot show them.
func (t *tool) ask(cmd *cobra.Command, call func(ctx context.Context, s service)) {
	ctx, cancel := context.WithTimeout(cmd.Context(), infoTimeout)
	defer cancel()
	if s, err := t.connect(false); err == nil {
		call(ctx, s)
	}
}

func completeNamespace(*cobra.Command, []string, string) (names []string, _ cobra.ShellCompDirective) {
	entries, _ := os.ReadDir("/run/netns") // it exists when the first namespace does
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names, noFiles
}

// complete has an option's values suggested. The tests know that the option exists.
func complete(cmd *cobra.Command, option string, suggest cobra.CompletionFunc) {
	_ = cmd.RegisterFlagCompletionFunc(option, suggest)
}

func completeWords(cmd *cobra.Command, option string, words []string) {
	complete(cmd, option, cobra.FixedCompletions(words, noFiles))
}
