package main

import (
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"tripleo.io/sidecar/service/lsm"
	"tripleo.io/sidecar/service/policy"
)

// checked is what the policy files say, by and large.
type checked struct {
	Agents   []checkedAgent `json:"agents"`
	AppArmor string         `json:"appArmor,omitempty"` // of this host, if its own directories are checked
	SELinux  string         `json:"selinux,omitempty"`
	Warnings []string       `json:"warnings"`
}

type checkedAgent struct {
	Name              string   `json:"name"`
	Profiles          []string `json:"profiles"`
	NetworkNamespaces []string `json:"networkNamespaces"` // patterns
	HostNetwork       bool     `json:"hostNetwork"`
	MaxSidecars       int      `json:"maxSidecars"`
	StandIns          bool     `json:"standIns"`
	SpoolUser         *uint32  `json:"spoolUser,omitempty"`
	SELinuxLevel      string   `json:"selinuxLevel"`
}

func newCheck(t *tool) *cobra.Command {
	return &cobra.Command{
		Use:   "check [DIRECTORY…]",
		Short: "Check the host's policy files",
		Long: `Read profiles.d and agents.d of the directories as the service would, a file of a
later directory replacing the one of the same name. Without a directory:
/usr/share/sidecar and /etc/sidecar, what AppArmor and SELinux do for
sidecars on this host, and whether its limits are enough for them. The service is not asked. Warnings are no failure.`,
		ValidArgsFunction: directories,
		RunE: func(_ *cobra.Command, dirs []string) error {
			result, err := check(dirs)
			if err != nil {
				return err
			}
			t.out.checked(result)
			return nil
		},
	}
}

func check(dirs []string) (*checked, error) {
	for _, dir := range dirs {
		// To the policy a directory that is not there is an empty one; whoever names
		// it means it to be there.
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return nil, &usageError{fmt.Sprintf("%q is no directory", dir)}
		}
	}
	host := len(dirs) == 0
	if host {
		dirs = []string{policy.VendorDirectory, policy.HostDirectory}
	}
	set, err := policy.Load(dirs...)
	if err != nil {
		return nil, err
	}
	sidecars := 0
	result := &checked{Agents: []checkedAgent{}, Warnings: append([]string{}, set.Warnings()...)}
	for _, agent := range set.Agents() {
		sidecars += agent.MaxSidecars
		result.Agents = append(result.Agents, checkedAgent{
			Name:              agent.Name,
			Profiles:          append([]string{}, agent.Profiles...),
			NetworkNamespaces: append([]string{}, agent.NetworkNamespaces...),
			HostNetwork:       agent.HostNetwork,
			MaxSidecars:       agent.MaxSidecars,
			StandIns:          agent.StandIns,
			SpoolUser:         agent.SpoolUser,
			SELinuxLevel:      agent.SELinuxLevel,
		})
	}
	if host {
		state := lsm.Host()
		result.AppArmor, result.SELinux = state.AppArmor.String(), state.SELinux.String()
		result.Warnings = slices.Concat(result.Warnings, state.Missing(), lacks("/", sidecars), left(leftovers))
	}
	return result, nil
}
