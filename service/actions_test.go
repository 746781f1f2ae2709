package service

import (
	"encoding/xml"
	"os"
	"slices"
	"strings"
	"testing"
)

// policyFile is what polkit reads, as far as it matters here: polkit(8).
type policyFile struct {
	Actions []struct {
		ID       string `xml:"id,attr"`
		Message  string `xml:"message"`
		Any      string `xml:"defaults>allow_any"`
		Inactive string `xml:"defaults>allow_inactive"`
		Active   string `xml:"defaults>allow_active"`
	} `xml:"action"`
}

// TestPolkitFileHasTheActions shows that polkit knows the actions that are asked
// about and no others, and lets nobody in by default who does not authenticate as
// an administrator, for what is not kept.
func TestPolkitFileHasTheActions(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../polkit/io.tripleo.sidecar.policy")
	if err != nil {
		t.Fatal(err)
	}
	var file policyFile
	if err := xml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, a := range file.Actions {
		ids = append(ids, a.ID)
		want := []string{"auth_admin", "auth_admin", "auth_admin"}
		if a.ID == actionInspect {
			want[2] = "auth_admin_keep"
		}
		diff(t, a.ID, want, []string{a.Any, a.Inactive, a.Active})
		if !strings.HasPrefix(a.Message, "Authentication is required to ") {
			t.Errorf("%s: %q", a.ID, a.Message)
		}
	}
	slices.Sort(ids)
	diff(t, "actions", []string{actionInspect, actionLaunch, actionNamespace, actionSignal, actionStop}, ids)
}
