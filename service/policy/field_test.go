package policy_test

import (
	"errors"
	"strings"
	"testing"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/policy"
)

// TestFieldProcessTags: tags as Neutron makes them (get_process_tag and its callers,
// 22.0 to 2025.2), and others that do no harm.
func TestFieldProcessTags(t *testing.T) {
	t.Parallel()
	const uuid, other = "0b63b2d6-1b2c-4d3e-8f90-a1b2c3d4e5f6", "9d2c51b0-52b4-4ad3-a6fd-66d6ae0e7f58"
	for tag, want := range map[string]string{
		"dnsmasq-" + uuid:         "",
		"dnsmasq-100/" + uuid:     "", // multi-segment network: segment/network
		"haproxy-" + uuid:         "",
		"radvd-" + uuid:           "",
		"keepalived-" + uuid:      "",
		"keepalived-vrrp-" + uuid: "",
		"default-service-" + uuid: "",
		"ip_monitor-" + uuid:      "",
		"dibbler-" + uuid + ":" + other + ":qr-0a1b2c3d-4e": "", // prefix delegation
		"neutron-keepalived-state-change-monitor-" + uuid:   "",
		`name with spaces, "quotes", $HOME, %n, ; and a \`:  "",
		"réseau":                 "",
		strings.Repeat("x", 512): "",
		strings.Repeat("x", 513): "512 bytes",
		"":                       "empty",
		"two\nlines":             "control character",
		"not \xff UTF-8":         "UTF-8",
	} {
		_, err := shipped(t).Decide(policy.Request{
			Agent: "neutron-dhcp", Profile: "dnsmasq", NetworkNamespace: pointer("qdhcp-" + uuid), ProcessTag: &tag,
			Arguments: []string{"--pid-file=/var/lib/neutron/dhcp/" + uuid + "/pid"},
		})
		wantInvalid(t, tag, "processTag", err, want)
	}
}

// TestFieldNamespaceNames: what ip-netns(8) makes and a pattern can grant. A refusal names
// the character.
func TestFieldNamespaceNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"qdhcp-1":                           "",
		"qdhcp-a@b:c+d,e=f%g~h#i":           "",
		"qdhcp-" + strings.Repeat("n", 249): "",
		"qdhcp-" + strings.Repeat("n", 250): "255 bytes",
		"qdhcp-a b":                         `' '`,
		"qdhcp-é":                           `'é'`,
		"qdhcp-*":                           `'*'`,
		"qdhcp-/..":                         `'/'`,
		`qdhcp-\`:                           `'\\'`,
		"qdhcp-\xff":                        `'�'`,
		"..":                                "directory",
	} {
		_, err := shipped(t).Decide(policy.Request{
			Agent: "neutron-dhcp", Profile: "dnsmasq", NetworkNamespace: &name,
			Arguments: []string{"--pid-file=/var/lib/neutron/dhcp/1/pid"},
		})
		wantInvalid(t, name, "networkNamespace", err, want)
	}
}

// wantInvalid holds a decision to refuse a parameter for a reason, or to accept it if the
// reason is "".
func wantInvalid(t *testing.T, value, parameter string, err error, want string) {
	t.Helper()
	var problem *interfaces.InvalidParameterError
	switch {
	case want == "" && err != nil:
		t.Errorf("%q: %v", value, err)
	case want != "" && (!errors.As(err, &problem) || problem.Parameter != parameter || !strings.Contains(problem.Reason, want)):
		t.Errorf("%q: error %v, want one about %s with %q", value, err, parameter, want)
	}
}
