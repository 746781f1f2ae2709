package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"tripleo.io/sidecar/interfaces"
)

func (p *printer) profiles(profiles []interfaces.Profile) {
	p.result(profiles, func(w io.Writer) {
		row(w, "NAME", "IMAGE", "INSTANCE", "DESCRIPTION")
		for _, profile := range profiles {
			row(w, profile.Name, profile.Image, profile.Instance, profile.Description)
		}
	})
}

func (p *printer) profile(profile *interfaces.Profile) {
	p.result(profile, func(w io.Writer) {
		field(w, "Name", profile.Name)
		field(w, "Description", profile.Description)
		field(w, "Image", profile.Image)
		field(w, "Command", shellWords(profile.Command))
		field(w, "Instance", profile.Instance)
		row(w)
		row(w, "RULE")
		for _, rule := range profile.Arguments {
			row(w, ruleText(rule))
		}
	})
}

// ruleText shows the rule of the empty argument, whose text is empty.
func ruleText(rule string) string { return cmp.Or(rule, "''") }

func (p *printer) checked(c *checked) {
	p.result(c, func(w io.Writer) {
		row(w, "AGENT", "PROFILES", "NAMESPACES", "LIMIT", "STAND-INS", "SPOOL USER")
		for _, a := range c.Agents {
			namespaces := a.NetworkNamespaces
			if a.HostNetwork {
				namespaces = append([]string{hostNetwork}, namespaces...)
			}
			standIns := none
			if a.StandIns {
				standIns = "yes"
			}
			row(w, a.Name, cmp.Or(strings.Join(a.Profiles, " "), none), cmp.Or(strings.Join(namespaces, " "), none),
				fmt.Sprint(a.MaxSidecars), standIns, numberOr(a.SpoolUser))
		}
		if c.AppArmor != "" {
			row(w)
			row(w, "AppArmor: "+c.AppArmor)
			row(w, "SELinux: "+c.SELinux)
		}
		if len(c.Warnings) > 0 {
			row(w)
		}
		for _, warning := range c.Warnings {
			row(w, "warning: "+warning)
		}
	})
}

// versions prints the tool's version and the service's, or why the latter is not known.
func (p *printer) versions(v versions, err error) {
	p.result(v, func(w io.Writer) {
		field(w, "sidecarctl", v.Sidecarctl)
		if v.Service == nil {
			field(w, "Service", "not known: "+message(err))
			return
		}
		field(w, "Service", strings.TrimSpace(v.Service.Product+" "+v.Service.Version))
	})
}
