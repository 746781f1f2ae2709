package main

import (
	"slices"

	"github.com/spf13/cobra"

	"tripleo.io/sidecar/interfaces"
)

func newLaunch(t *tool) *cobra.Command {
	var o launchOptions
	cmd := &cobra.Command{
		Use:   "launch PROFILE [OPTIONS] -- [ARGUMENT…]",
		Short: "Start a sidecar and wait until it is ready",
		Long: `Start a sidecar, and return when it is ready. The program gets the arguments
unchanged. If it ends before it is ready, its exit code and the last lines of its
output are shown.

` + aboutModes,
		Example: "  sidecarctl launch dnsmasq --agent neutron-dhcp --netns qdhcp-1 -- --no-hosts --pid-file=/var/lib/neutron/dhcp/1/pid",
		RunE: t.calling(0, func(cmd *cobra.Command, s service, args []string) error {
			sidecar, err := s.Launch(cmd.Context(), o.parameters(cmd, args))
			if err == nil {
				t.out.sidecar(sidecar)
			}
			return err
		}),
	}
	o.addTo(t, cmd)
	return cmd
}

func newExplain(t *tool) *cobra.Command {
	var o launchOptions
	cmd := &cobra.Command{
		Use:   "explain PROFILE [OPTIONS] -- [ARGUMENT…]",
		Short: "Show what launch would do, or why it would be refused",
		Long: `Show the rule that accepts each argument, the command, the engine's command, the
document and the properties of the unit that launch would start with the same
options, or why it would be refused. Nothing is started.

` + aboutModes,
		RunE: t.calling(0, func(cmd *cobra.Command, s service, args []string) error {
			explained, err := s.Explain(cmd.Context(), o.parameters(cmd, args))
			if err == nil {
				t.out.explained(explained, args[1:])
			}
			return err
		}),
	}
	o.addTo(t, cmd)
	return cmd
}

const aboutModes = `MODE says what a launch does if the sidecar exists already:

    replace  stop it first
    fail     fail
    keep     return the running sidecar if its request was the same, and fail
             otherwise; it is replaced if its request was the same and it waits for
             systemd to restart it
    adopt    return the running sidecar if its request was the same, and replace it
             otherwise

The default is adopt if the agent's file says stand-ins, else replace.`

// launchOptions are the options of launch and of explain.
type launchOptions struct {
	netns, agent, tag, mode string
	limit                   timeout
}

func (o *launchOptions) addTo(t *tool, cmd *cobra.Command) {
	var modes []string
	for _, mode := range interfaces.LaunchModes {
		modes = append(modes, string(mode))
	}
	flags := cmd.Flags()
	flags.StringVar(&o.netns, "netns", "", "network `NAMESPACE`, by its name in /run/netns (default: the one that sidecarctl runs in)")
	flags.StringVar(&o.agent, "agent", "", "`AGENT` for which to start it; required on the host's socket and on the bus, an agent's own socket implies it")
	flags.StringVar(&o.tag, "tag", "", "`VALUE` of PROCESS_TAG in the environment of the process")
	flags.Var(newChoice(&o.mode, modes...), "mode", "what to do if the sidecar exists")
	flags.Lookup("mode").DefValue = "" // it depends on the agent
	flags.Var(&o.limit, "timeout", "how long it may take, such as 10s (default, and at most: the profile's limit)")
	cmd.Args = profileAndArguments
	cmd.DisableFlagsInUseLine = true
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return &usageError{err.Error() + "; the program's own arguments come after '--'"}
	})
	cmd.ValidArgsFunction = t.completeProfile
	complete(cmd, "netns", completeNamespace)
	completeWords(cmd, "mode", modes)
}

func (o *launchOptions) parameters(cmd *cobra.Command, args []string) interfaces.LaunchParameters {
	return interfaces.LaunchParameters{
		Profile:          args[0],
		Arguments:        args[1:],
		Agent:            given(cmd, "agent", o.agent),
		NetworkNamespace: given(cmd, "netns", o.netns),
		ProcessTag:       given(cmd, "tag", o.tag),
		Mode:             given(cmd, "mode", interfaces.LaunchMode(o.mode)),
		TimeoutUSec:      o.limit.usec,
	}
}

// profileAndArguments wants one word before "--"; the words after it are the program's
// arguments.
func profileAndArguments(cmd *cobra.Command, args []string) error {
	before := cmd.ArgsLenAtDash()
	if before < 0 {
		before = len(args)
	}
	switch {
	case before == 0:
		return &usageError{"a profile is missing"}
	case before > 1:
		return &usageError{"the program's own arguments come after '--'"}
	}
	return nil
}

func newProfiles(t *tool) *cobra.Command {
	var agent string
	cmd := &cobra.Command{
		Use:               "profiles [NAME]",
		Short:             "List the profiles, or show one profile with its rules",
		Long:              "List the profiles that may be launched. With a NAME, show that profile with the\nrules for its arguments.",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: t.completeProfile,
		RunE: t.calling(0, func(cmd *cobra.Command, s service, args []string) error {
			profiles, err := s.ListProfiles(cmd.Context(), given(cmd, "agent", agent))
			if err != nil {
				return err
			}
			if len(args) == 0 {
				t.out.profiles(profiles)
				return nil
			}
			i := slices.IndexFunc(profiles, func(p interfaces.Profile) bool { return p.Name == args[0] })
			if i < 0 {
				return &interfaces.NoSuchProfileError{Profile: args[0]}
			}
			t.out.profile(&profiles[i])
			return nil
		}),
	}
	cmd.Flags().StringVar(&agent, "agent", "", "only profiles granted to this `AGENT`; implied on an agent's socket")
	return cmd
}
