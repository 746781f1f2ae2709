//go:build testhost

package test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

const newcomer = "newcomer"

func TestReloadTakesAllOrNothing(t *testing.T) {
	begin(t)
	t.Cleanup(func() {
		run(t, "rm", "-f", policyFile("agents.d", newcomer), policyFile("agents.d", "broken"))
		reload(t)
	})
	if err := errors.Join(writePolicy("agents.d", newcomer, agentFiles[tester]), writePolicy("agents.d", "broken", "profiles = [\"dnsmasq\"]\nnonsense = 1\n")); err != nil {
		t.Fatal(err)
	}
	since := now()
	if _, err := output("systemctl", "reload", "sidecard"); err == nil {
		t.Error("systemctl reload has not failed")
	}
	if status := show(t, "sidecard", "StatusText"); !strings.Contains(status, "the last reload failed") {
		t.Errorf("the status is %q", status)
	}
	eventually(t, 10*time.Second, "an error in the log names file, line and key", func() bool {
		return slices.ContainsFunc(entriesSince(t, since, "_SYSTEMD_UNIT=sidecard.service"), func(e entry) bool {
			text := e.text("MESSAGE")
			return strings.Contains(text, "level=ERROR") && strings.Contains(text, "broken.toml:2") && strings.Contains(text, "nonsense")
		})
	})
	if _, err := os.Stat(socketOf(newcomer)); err == nil {
		t.Error("the other new file was taken")
	}
	if _, err := as(t, neutron).ListProfiles(minute(t), nil); err != nil {
		t.Errorf("the policy of before: %v", err)
	}
	run(t, "rm", policyFile("agents.d", "broken"))
	reload(t)
	if _, err := as(t, newcomer).ListProfiles(minute(t), nil); err != nil {
		t.Errorf("after the file was put right: %v", err)
	}
}

func TestReloadOfAnAgentLeavesItsSidecars(t *testing.T) {
	begin(t)
	namespace(t, "t-new")
	withPolicy(t, "agents.d", newcomer, agentFiles[tester])
	p := probe(t, "t-new")
	s, err := as(t, newcomer).Launch(minute(t), p)
	if err != nil {
		t.Fatal(err)
	}
	run(t, "rm", policyFile("agents.d", newcomer))
	reload(t)
	if _, err := os.Stat(socketOf(newcomer)); err == nil {
		t.Error("the socket is still there")
	}
	checkRunning(t, s, p)
	operator := at(t, hostSocket)
	if got, err := operator.Get(minute(t), s.ID); err != nil || *got.Runtime.ProcessID != *s.Runtime.ProcessID {
		t.Errorf("the operator sees %v, %v", got, err)
	}
	if _, err := operator.Stop(minute(t), interfaces.StopParameters{ID: s.ID}); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func TestReloadShowsAnOutdatedImage(t *testing.T) {
	begin(t)
	namespace(t, "t-image")
	s := start(t, tester, probe(t, "t-image"))
	if s.Runtime.ImageOutdated {
		t.Error("outdated from the start")
	}
	text := strings.Replace(profileFiles()["probe"], image, image+"-next", 1)
	t.Cleanup(func() {
		if err := writePolicy("profiles.d", "probe", profileFiles()["probe"]); err != nil {
			t.Error(err)
		}
		reload(t)
	})
	if err := writePolicy("profiles.d", "probe", text); err != nil {
		t.Fatal(err)
	}
	reload(t)
	if now := get(t, tester, s.ID); !now.Runtime.ImageOutdated || now.Runtime.Image != image {
		t.Errorf("after the profile's image was changed: %+v", now.Runtime)
	}
}
