//go:build testhost

package test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// burstSize is how many launches come at once: what an agent does after its start. 20
// and 30 callers share them evenly.
func burstSize() int {
	if testing.Short() {
		return 60
	}
	return 300
}

func TestShimBurstBy30Threads(t *testing.T) {
	begin(t)
	stopAllAtEnd(t, neutron)
	s := shimsOf(t, neutron)
	all := networks(t, burstSize())
	began := time.Now()
	longest := make([]time.Duration, len(all))
	index := make([]int, len(all))
	for i := range index {
		index[i] = i
	}
	if err := atOnce(30, index, func(i int) error {
		n := all[i]
		r := wait(t, s.command(t, n.namespace, "dnsmasq-"+n.id, "dnsmasq", n.quiet().Arguments...))
		longest[i] = r.took
		if r.code != 0 || r.out+r.err != "" {
			t.Errorf("%s: %v", n.id, r)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	t.Logf("%d launches by 30 threads took %v, the longest %v", len(all), time.Since(began).Round(time.Millisecond), slices.Max(longest).Round(time.Millisecond))
	var answers []answer
	for _, n := range all {
		id := interfaces.NewID(neutron, "dnsmasq", n.file("pid")).String()
		sidecar, err := as(t, neutron).Get(minute(t), id)
		if err != nil {
			t.Errorf("%s: %v", n.id, err)
			continue
		}
		answers = append(answers, answer{network: n, sidecar: sidecar})
	}
	checkOnce(t, answers)
}

// What the shim adds to a launch is seen best in one that is refused at once: the
// same answer, over an open client, takes less than a millisecond.
func TestShimAddsLittleToALaunch(t *testing.T) {
	begin(t)
	s := shimsOf(t, neutron)
	n := bareNetwork(t)
	p := n.parameters("--nonsense")
	c := as(t, neutron)
	var direct, through []time.Duration
	for range 40 {
		began := time.Now()
		if _, err := c.Launch(minute(t), p); err == nil {
			t.Fatal("it was not refused")
		}
		direct = append(direct, time.Since(began))
		through = append(through, ownTime(t, s, p.Arguments))
	}
	slices.Sort(direct)
	slices.Sort(through)
	own := through[len(through)/2] - direct[len(direct)/2]
	t.Logf("refused by a client: %v, through the shim: %v; the shim's own: %v (medians)", direct[len(direct)/2], through[len(through)/2], own)
	// The aim is 5 ms, on a machine that does nothing else. On a busy one the best of
	// many says most.
	if best := through[0] - direct[0]; best > 25*time.Millisecond {
		t.Errorf("the shim takes %v of its own", best)
	}
}

// ownTime runs the shim itself, without ip and env before it.
func ownTime(t *testing.T, s shims, arguments []string) time.Duration {
	t.Helper()
	cmd := s.command(t, "", "", "dnsmasq", arguments...)
	cmd.Path, cmd.Args = s.directory+"/dnsmasq", append([]string{"dnsmasq"}, arguments...)
	cmd.Env = []string{"SIDECAR_ADDRESS=" + s.socket}
	r := wait(t, cmd)
	if r.code != 1 || !strings.Contains(r.err, "not allowed") {
		t.Fatalf("it was not refused: %v", r)
	}
	return r.took
}

// Launches whose connection breaks with the service are asked for again, and start
// nothing twice.
func TestShimGoesOnWhenTheServiceIsKilled(t *testing.T) {
	begin(t)
	stopAllAtEnd(t, neutron)
	s := shimsOf(t, neutron)
	all := networks(t, 16)
	results := make(chan result, len(all))
	for _, n := range all {
		cmd := s.command(t, n.namespace, "", "dnsmasq", n.quiet().Arguments...)
		go func() { results <- wait(t, cmd) }()
	}
	first := <-results
	killDaemon(t)
	awaitDaemon(t)
	for range len(all) - 1 {
		if r := <-results; r.code != 0 || r.out+r.err != "" {
			t.Error(r)
		}
	}
	if first.code != 0 {
		t.Error(first)
	}
	var answers []answer
	for _, n := range all {
		id := interfaces.NewID(neutron, "dnsmasq", n.file("pid")).String()
		answers = append(answers, answer{network: n, sidecar: get(t, neutron, id)})
	}
	checkOnce(t, answers)
}
