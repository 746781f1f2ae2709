//go:build testhost

package test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
)

// pythonCalls makes the same calls as the tests with varlinkctl, by the varlink
// library of Python, and prints what it got as one JSON object.
const pythonCalls = `
import json, sys, varlink
address, launch = sys.argv[1], json.loads(sys.argv[2])
seen = {}
with varlink.Client("unix:" + address) as client:
    with client.open("io.tripleo.Sidecar") as sidecars:
        seen["launched"] = sidecars.Launch(**launch)["sidecar"]
        seen["listed"] = [r["sidecar"] for r in sidecars.List(_more=True)]
        seen["profiles"] = [r["profile"]["name"] for r in sidecars.ListProfiles(_more=True)]
        try:
            sidecars.List()
        except varlink.VarlinkError as e:
            seen["withoutMore"] = e.error()
        try:
            sidecars.Launch(**dict(launch, arguments=["--dhcp-script=/bin/sh"]))
        except varlink.VarlinkError as e:
            seen["refused"], seen["refusal"] = e.error(), e.parameters()
        seen["stopped"] = sidecars.Stop(id=seen["launched"]["id"])
print(json.dumps(seen))
`

func needPythonVarlink(t *testing.T) {
	t.Helper()
	if _, err := output("python3", "-c", "import varlink"); err != nil {
		t.Skip("this release has no python3-varlink")
	}
}

func TestVarlinkPythonLibraryCalls(t *testing.T) {
	begin(t)
	needPythonVarlink(t)
	n := bareNetwork(t)
	text, err := json.Marshal(n.parameters())
	if err != nil {
		t.Fatal(err)
	}
	stopAllAtEnd(t, neutron)
	var seen struct {
		Launched    interfaces.Sidecar
		Listed      []interfaces.Sidecar
		Profiles    []string
		WithoutMore string
		Refused     string
		Refusal     interfaces.ArgumentNotAllowedError
		Stopped     interfaces.StopReply
	}
	decode(t, run(t, "python3", "-c", pythonCalls, socketOf(neutron), string(text)), &seen)
	if seen.Launched.Runtime.State != interfaces.StateReady {
		t.Errorf("launched %+v", seen.Launched)
	}
	if diff := cmp.Diff([]interfaces.Sidecar{seen.Launched}, seen.Listed); diff != "" {
		t.Errorf("listed (-launched +listed):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"dnsmasq", "haproxy"}, seen.Profiles); diff != "" {
		t.Errorf("profiles (-want +got):\n%s", diff)
	}
	if seen.WithoutMore != "org.varlink.service.ExpectedMore" {
		t.Errorf("List without more: %q", seen.WithoutMore)
	}
	if seen.Refused != interfaces.Name+".ArgumentNotAllowed" || seen.Refusal.Index != 0 || seen.Refusal.Reason == "" {
		t.Errorf("refused with %q, %+v", seen.Refused, seen.Refusal)
	}
	// 5 is dnsmasq that is stopped before it is through with its start.
	if code := seen.Stopped.ExitCode; code == nil || *code != 0 && *code != 5 {
		t.Errorf("stopped: %+v", seen.Stopped)
	}
}

func TestVarlinkPythonProgramCalls(t *testing.T) {
	begin(t)
	needPythonVarlink(t)
	address := "unix:" + socketOf(neutron)
	if got := run(t, "python3", "-m", "varlink.cli", "info", address); !strings.Contains(got, "Vendor: TripleO") || !strings.Contains(got, interfaces.Name) {
		t.Errorf("info:\n%s", got)
	}
	// It prints the interface as the service sent it.
	if diff := cmp.Diff(strings.TrimSpace(run(t, "cat", installedInterface)), strings.TrimSpace(run(t, "python3", "-m", "varlink.cli", "help", address+"/"+interfaces.Name))); diff != "" {
		t.Errorf("the interface (-installed +served):\n%s", diff)
	}
	var profile interfaces.ListProfilesReply
	text := run(t, "python3", "-m", "varlink.cli", "call", "-m", address+"/"+interfaces.Name+".ListProfiles", "{}")
	if err := json.NewDecoder(strings.NewReader(text)).Decode(&profile); err != nil || profile.Profile.Name != "dnsmasq" {
		t.Errorf("profiles: %v, %v", profile, err)
	}
}
