package service

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/systemd"
)

// picture is what a reader knows who believes what it is told.
type picture struct {
	sidecars map[string]interfaces.Sidecar
	whole    bool // no state is being told
	overruns int
	wrong    []string // what it could not believe
}

func (p *picture) take(e interfaces.Event) {
	switch e.Kind {
	case interfaces.EventOverrun:
		p.sidecars, p.whole = map[string]interfaces.Sidecar{}, false
		p.overruns++
		return
	case interfaces.EventSynchronized:
		p.whole = true
		return
	}
	_, known := p.sidecars[*e.ID]
	present, started := e.Kind == interfaces.EventPresent, e.Kind == interfaces.EventStarted
	if present == p.whole || present && known || !present && !started && !known {
		p.wrong = append(p.wrong, fmt.Sprintf("%s, known: %v, whole: %v", words(e), known, p.whole))
	}
	if e.Kind == interfaces.EventStopped {
		delete(p.sidecars, *e.ID)
		return
	}
	p.sidecars[*e.ID] = *e.Sidecar
}

// TestMonitorModel shows that a reader who believes the events knows in the end
// what List says, whatever happened, and however slow it was.
func TestMonitorModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { model(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func model(t *testing.T, random *rand.Rand) {
	h := observed(t)
	delays := func() time.Duration { return time.Duration(random.IntN(100)) * time.Millisecond }
	w := h.watch(t, dhcpAgent(), interfaces.MonitorParameters{})
	p := &picture{sidecars: map[string]interfaces.Sidecar{}}
	for range 600 {
		h.disturb(t, fmt.Sprint("net-", random.IntN(10)), random.IntN(5))
		time.Sleep(delays())
		for n := random.IntN(4) - 1; n > 0; n-- { // less than happens
			select {
			case e := <-w.events:
				p.take(e)
			default:
			}
			time.Sleep(time.Millisecond)
		}
	}
	time.Sleep(time.Minute)
	for done := false; !done; {
		select {
		case e := <-w.events:
			p.take(e)
		case <-time.After(time.Minute):
			done = true
		}
	}
	listed, _ := h.core.List(t.Context(), dhcpAgent(), interfaces.ListParameters{}) // may be none
	want := map[string]interfaces.Sidecar{}
	for _, s := range listed {
		want[s.ID] = s
	}
	diff(t, "what the reader knows", want, p.sidecars)
	if len(p.wrong) > 0 {
		t.Errorf("not to be believed: %d, the first of them: %s", len(p.wrong), p.wrong[0])
	}
	t.Logf("%d sidecars in the end, %d overruns", len(want), p.overruns)
}

// disturb lets something happen to a sidecar, if it can.
func (h *fakeHost) disturb(t *testing.T, network string, what int) {
	id := dnsmasqID(network)
	switch what {
	case 0, 1:
		h.launch(t, network)
	case 2:
		_, _ = h.core.Stop(t.Context(), dhcpAgent(), interfaces.StopParameters{ID: id.String()})
	case 3:
		h.units.Exit(id.Unit(), 7)
	case 4: // as a restart by systemd does
		h.units.Update(id.Unit(), func(u *systemd.Unit) {
			u.NRestarts++
			u.InvocationID = fmt.Sprintf("%032x", u.NRestarts)
		})
	}
}
