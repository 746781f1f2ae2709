//go:build testhost

package test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
)

// TestMonitorHostileAgent has an agent start, kill and stop as fast as it can, and
// take all monitors that it may have, of which it reads none. Root's monitor, which is
// read slowly, ends up with what List says.
func TestMonitorHostileAgent(t *testing.T) {
	begin(t)
	namespace(t, "t-restless")
	for n := range 17 {
		w := dial(t, socketOf(tester), time.Minute)
		if err := w.send(request{Method: interfaces.Name + ".Monitor", Parameters: interfaces.MonitorParameters{}, More: true}); err != nil {
			t.Fatal(err)
		}
		if f, err := w.receive(); err != nil || (f.Error != "") != (n == 16) {
			t.Errorf("monitor %d: %v, %v", n, f, err)
		}
	}
	o := observe(t)
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	done := make(chan int)
	for n := range 3 {
		p := probe(t, "t-restless")
		stopAtEnd(t, tester, interfaces.NewID(tester, "probe", pidFileOf(p.Arguments)).String())
		go func() { done <- restless(ctx, t, p, n) }()
	}
	lives := 0
	for range 3 {
		lives += <-done
	}
	eventually(t, time.Minute, "the monitor knows what List says", func() bool {
		listed, err := at(t, hostSocket).List(minute(t), interfaces.ListParameters{Agent: new(tester)})
		if err != nil {
			t.Error(err)
		}
		return o.knows(listed)
	})
	t.Logf("%d lives; events %v", lives, o.kinds)
	if lives == 0 || o.kinds[interfaces.EventStarted] == 0 || o.kinds[interfaces.EventStopped] == 0 {
		t.Error("nothing happened")
	}
}

// observer believes what a monitor tells it.
type observer struct {
	mu    sync.Mutex
	known map[string]interfaces.Sidecar
	kinds map[interfaces.EventKind]int
}

// observe monitors all sidecars, and takes its time.
func observe(t *testing.T) *observer {
	o := &observer{known: map[string]interfaces.Sidecar{}, kinds: map[interfaces.EventKind]int{}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	t.Cleanup(func() { cancel(); <-done })
	c := at(t, hostSocket)
	go func() {
		defer close(done)
		for e, err := range c.Monitor(ctx, interfaces.MonitorParameters{}) {
			if err != nil {
				if ctx.Err() == nil {
					t.Error(err)
				}
				return
			}
			o.take(e)
			time.Sleep(5 * time.Millisecond)
		}
	}()
	return o
}

func (o *observer) take(e interfaces.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kinds[e.Kind]++
	switch {
	case e.Kind == interfaces.EventOverrun:
		clear(o.known)
	case e.Sidecar != nil:
		o.known[*e.ID] = *e.Sidecar
	case e.ID != nil:
		delete(o.known, *e.ID)
	}
}

func (o *observer) knows(listed []interfaces.Sidecar) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := map[string]interfaces.Sidecar{}
	for _, s := range listed {
		now[s.ID] = s
	}
	return cmp.Equal(o.known, now)
}

// restless launches and ends a sidecar until ctx ends, at last with a launch.
func restless(ctx context.Context, t *testing.T, p interfaces.LaunchParameters, n int) (lives int) {
	c := at(t, socketOf(tester))
	for ctx.Err() == nil {
		s, err := c.Launch(context.WithoutCancel(ctx), p)
		if err != nil {
			t.Error(err)
			return lives
		}
		lives++
		if ctx.Err() != nil {
			break
		}
		if (lives+n)%3 == 0 {
			_ = c.Signal(ctx, interfaces.SignalParameters{ID: s.ID, Signal: "SIGKILL"})
		} else if _, err := c.Stop(context.WithoutCancel(ctx), interfaces.StopParameters{ID: s.ID}); err != nil {
			t.Error(fmt.Errorf("stop: %w", err))
		}
	}
	return lives
}
