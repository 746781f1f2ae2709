package main

import (
	"io"

	"github.com/spf13/cobra"

	"tripleo.io/sidecar/interfaces"
)

func newNamespace(t *tool) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "namespace",
		Short: "Make or delete network namespaces for agents",
		Long:  "Make a network namespace for an agent, or delete one that was made in this way.",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(newNamespaceCreate(t), newNamespaceDelete(t))
	return cmd
}

func newNamespaceCreate(t *tool) *cobra.Command {
	var agent string
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a network namespace for an agent",
		Long: `Make a network namespace for an agent, with its loopback interface up. The agent's
file must allow it (create-namespaces). No process has to stay in it; it exists
until it is deleted or the host goes down.`,
		Args: cobra.ExactArgs(1),
		RunE: t.calling(0, func(cmd *cobra.Command, s service, args []string) error {
			err := s.CreateNamespace(cmd.Context(), interfaces.CreateNamespaceParameters{
				NetworkNamespace: args[0], Agent: given(cmd, "agent", agent),
			})
			if err == nil {
				t.out.result(interfaces.CreateNamespaceReply{}, func(io.Writer) {})
			}
			return err
		}),
	}
	addAgent(cmd, &agent)
	return cmd
}

func newNamespaceDelete(t *tool) *cobra.Command {
	var agent string
	var force bool
	cmd := &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a network namespace that was made for an agent",
		Long: `Delete a network namespace that was made for the agent with 'sidecarctl namespace
create' or by the agent itself, and no other one. It is refused while sidecars run
in it or wait for it.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeNamespace,
		RunE: t.calling(0, func(cmd *cobra.Command, s service, args []string) error {
			err := s.DeleteNamespace(cmd.Context(), interfaces.DeleteNamespaceParameters{
				NetworkNamespace: args[0], Agent: given(cmd, "agent", agent), Force: given(cmd, "force", force),
			})
			if err == nil {
				t.out.result(interfaces.DeleteNamespaceReply{}, func(io.Writer) {})
			}
			return err
		}),
	}
	addAgent(cmd, &agent)
	cmd.Flags().BoolVar(&force, "force", false, "stop the agent's sidecars in it first")
	return cmd
}

func addAgent(cmd *cobra.Command, agent *string) {
	cmd.Flags().StringVar(agent, "agent", "", "`AGENT` for which it was made; implied on an agent's socket")
}
