package server

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/spool"
)

// TestSpoolServerKilledAtEveryStep shows each state that a killed server can leave,
// and that the next one makes of it one start and one answer.
func TestSpoolServerKilledAtEveryStep(t *testing.T) {
	t.Parallel()
	name := nameOf(1)
	file := spool.File(name)
	launch := func(f *fakeService, arguments ...string) {
		if _, err := f.start(interfaces.LaunchParameters{Profile: "p", Arguments: arguments}); err != nil {
			panic(err)
		}
	}
	result := `{"parameters":{"sidecar":{"id":"first"}}}`
	cases := map[string]struct {
		before func(f *fakeService)                           // the request was written
		after  func(t *testing.T, dir string, f *fakeService) // the request was claimed
		starts int                                            // of the instance, all in all
		answer string
	}{
		"claimed, not asked": {starts: 1},
		"asked and started": {
			after:  func(_ *testing.T, _ string, f *fakeService) { launch(f, "/k") },
			starts: 1,
		},
		"claimed, an old one of the same request runs": {
			before: func(f *fakeService) { launch(f, "/k") },
			starts: 2, // that one had to be replaced, and still has
		},
		"claimed, an old one of another request runs": {
			before: func(f *fakeService) { launch(f, "/k", "--other") },
			starts: 2,
		},
		"the result begun": {
			after: func(t *testing.T, dir string, f *fakeService) {
				launch(f, "/k")
				put(t, dir, spool.Results, "."+name+".tmp", result[:9])
			},
			starts: 1,
		},
		"the result written, still claimed": {
			after: func(t *testing.T, dir string, f *fakeService) {
				launch(f, "/k")
				put(t, dir, spool.Results, file, result)
			},
			starts: 1, answer: "first",
		},
	}
	for what, c := range cases {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dir, fake := newSpool(t), newFake()
			if c.before != nil {
				c.before(fake)
			}
			time.Sleep(20 * time.Millisecond) // a file's time is as coarse as the kernel's tick
			from := put(t, dir, spool.New, file, launchText("/k"))
			if err := os.Rename(from, filepath.Join(dir, spool.Claimed, file)); err != nil {
				t.Fatal(err)
			}
			if c.after != nil {
				c.after(t, dir, fake)
			}
			serveOnce(t, dir, fake)
			serveOnce(t, dir, fake) // finds nothing more to do
			r := resultOf(t, dir, name)
			if r == nil || r.Error != "" || !strings.Contains(string(r.Parameters), c.answer) {
				t.Errorf("result %+v", r)
			}
			if got := fake.started("/k"); got != c.starts {
				t.Errorf("%d starts, want %d", got, c.starts)
			}
			checkEmpty(t, dir)
		})
	}
}

// TestSpoolServerServiceAway shows that requests wait for a service that is down,
// and that a call that was cut off is not carried out twice.
func TestSpoolServerServiceAway(t *testing.T) {
	t.Parallel()
	dir, fake := newSpool(t), newFake()
	var asked atomic.Int64
	fake.before = func(_ string, p any) error {
		switch asked.Add(1) {
		case 1, 2:
			return &client.UnreachableError{}
		case 3: // it is done, and the answer is lost
			if _, err := fake.start(p.(interfaces.LaunchParameters)); err != nil {
				t.Error(err)
			}
			return fmt.Errorf("reset: %w", client.ErrInterrupted)
		}
		return nil
	}
	put(t, dir, spool.New, spool.File(nameOf(1)), launchText("/k"))
	serveOnce(t, dir, fake)
	if r := resultOf(t, dir, nameOf(1)); r == nil || r.Error != "" {
		t.Errorf("result %+v", r)
	}
	if fake.started("/k") != 1 {
		t.Errorf("%d starts", fake.started("/k"))
	}
	checkEmpty(t, dir)
}

// keepServing runs servers whenever there is something, as systemd has it done, until
// stop is called. A server ends at once, with all that it does, when cut gets a value.
func keepServing(t *testing.T, dir string, service Service, cut <-chan struct{}) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() {
		for ctx.Err() == nil {
			one, end := context.WithCancel(ctx)
			done := make(chan error, 1)
			config := quick(dir, service)
			config.Grace = time.Nanosecond
			go func() { done <- Run(one, config) }()
			select {
			case err := <-done:
				if err != nil {
					t.Errorf("Run: %v", err)
				}
			case <-cut:
				end()
				<-done
			}
			end()
		}
	})
	return func() { cancel(); wait.Wait() }
}

func TestSpoolConcurrent300Requests(t *testing.T) {
	t.Parallel()
	const threads, each = 30, 10
	dir, fake := newSpool(t), newFake()
	fake.delay = time.Millisecond
	cut := make(chan struct{})
	stop := keepServing(t, dir, fake, cut)
	var wait sync.WaitGroup
	var answered atomic.Int64
	for thread := range threads {
		wait.Go(func() {
			c := &spool.Client{Directory: dir}
			for i := range each {
				key := fmt.Sprintf("/%d/%d", thread, i)
				if _, err := c.Launch(t.Context(), interfaces.LaunchParameters{Profile: "p", Arguments: []string{key}}); err != nil {
					t.Errorf("%s: %v", key, err)
				}
				answered.Add(1)
			}
		})
	}
	for i := range int64(5) {
		for answered.Load() < (i+1)*40 {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(rand.N(5 * time.Millisecond))
		cut <- struct{}{}
	}
	wait.Wait()
	stop()
	for thread := range threads {
		for i := range each {
			if got := fake.started(fmt.Sprintf("/%d/%d", thread, i)); got != 1 {
				t.Errorf("/%d/%d was started %d times", thread, i, got)
			}
		}
	}
	checkEmpty(t, dir)
}
