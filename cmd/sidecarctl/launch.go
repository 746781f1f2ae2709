package main

import (
	"time"

	"github.com/spf13/cobra"

	"tripleo.io/sidecar/interfaces"
)

func newLaunch(t *tool) *cobra.Command {
	var o launchOptions
	cmd := &cobra.Command{
		Use:     "launch PROFILE [OPTIONS] -- [ARGUMENT…]",
		Short:   "Start a sidecar and wait until it is ready",
		Long:    "Start a side process of the profile with these arguments. The command returns when it is ready; if it ends before that, with its exit code and the last lines that it wrote.",
		Example: "  sidecarctl launch dnsmasq --agent neutron-dhcp --netns qdhcp-1 -- --no-hosts --pid-file=/var/lib/neutron/dhcp/1/pid",
		Args:    profileAndArguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			parameters, err := o.parameters(cmd, args)
			if err != nil {
				return err
			}
			c, err := t.service()
			if err != nil {
				return err
			}
			sidecar, err := c.Launch(cmd.Context(), parameters)
			if err != nil {
				return err
			}
			t.out.sidecar(sidecar)
			return nil
		},
	}
	o.addTo(t, cmd)
	return cmd
}

func newExplain(t *tool) *cobra.Command {
	var o launchOptions
	cmd := &cobra.Command{
		Use:   "explain PROFILE [OPTIONS] -- [ARGUMENT…]",
		Short: "Show what launch would do, or why it would be refused",
		Long:  "Show the rule that accepts each argument, the command, and the exact unit of a launch with the same options. Nothing is started.",
		Args:  profileAndArguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			parameters, err := o.parameters(cmd, args)
			if err != nil {
				return err
			}
			c, err := t.service()
			if err != nil {
				return err
			}
			explained, err := c.Explain(cmd.Context(), parameters)
			if err != nil {
				return err
			}
			t.out.explained(explained, parameters.Arguments)
			return nil
		},
	}
	o.addTo(t, cmd)
	return cmd
}

// launchOptions are the options of launch and of explain.
type launchOptions struct {
	netns, agent, tag, mode string
	timeout                 time.Duration
}

func (o *launchOptions) addTo(t *tool, cmd *cobra.Command) {
	modes := make([]string, len(interfaces.LaunchModes))
	for i, mode := range interfaces.LaunchModes {
		modes[i] = string(mode)
	}
	flags := cmd.Flags()
	flags.StringVar(&o.netns, "netns", "", "network namespace, by its name below /run/netns (default: the one that sidecarctl runs in)")
	flags.StringVar(&o.agent, "agent", "", "agent for which to start it; implied on an agent's socket")
	flags.StringVar(&o.tag, "tag", "", "PROCESS_TAG in the environment of the process")
	flags.Var(newChoice(&o.mode, modes...), "mode", "if it is there already: replace it, fail, keep it or fail, or adopt it or replace it")
	flags.DurationVar(&o.timeout, "timeout", 0, "how long it may take, such as 10s (default, and at most: the profile's limit)")
	cmd.DisableFlagsInUseLine = true
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return &usageError{err.Error() + "; the program's own arguments come after '--'"}
	})
	cmd.ValidArgsFunction = t.firstProfile
	t.complete(cmd, "netns", namespaces)
	fixed(cmd, "mode", modes...)
}

func (o *launchOptions) parameters(cmd *cobra.Command, args []string) (interfaces.LaunchParameters, error) {
	timeout, err := timeoutUSec(cmd, o.timeout)
	return interfaces.LaunchParameters{
		Profile:          args[0],
		Arguments:        args[1:],
		Agent:            given(cmd, "agent", o.agent),
		NetworkNamespace: given(cmd, "netns", o.netns),
		ProcessTag:       given(cmd, "tag", o.tag),
		Mode:             given(cmd, "mode", interfaces.LaunchMode(o.mode)),
		TimeoutUSec:      timeout,
	}, err
}

// profileAndArguments wants one word before "--": what follows it belongs to the
// program, and is not looked at here.
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
