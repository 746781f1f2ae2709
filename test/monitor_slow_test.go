//go:build testhost

package test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/events"
)

// decoys starts n units that have the names and documents of sidecars with this image.
// Real ones take longer.
func decoys(t *testing.T, n int) {
	t.Helper()
	const unit = `[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
Environment=%q
Environment=%q
`
	var names []string
	for i := range n {
		id := fmt.Sprintf("%s.probe.%012x", tester, i)
		name := "sidecar-" + id + ".service"
		file := filepath.Join("/run/systemd/system", name)
		variables, err := document.New(interfaces.Context{Agent: tester, Profile: "probe"}, nil, document.Plan{
			ID: id, Engine: interfaces.EnginePodman, Program: "/usr/bin/podman", Image: image, PIDNamespace: document.Private,
		}).Encode()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, fmt.Appendf(nil, unit, variables[0], variables[1]), 0o644); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Remove(file) })
		names = append(names, name)
	}
	t.Cleanup(func() { run(t, append([]string{"systemctl", "stop"}, names...)...) })
	run(t, "systemctl", "daemon-reload")
	run(t, append([]string{"systemctl", "start"}, names...)...)
}

// TestMonitorOfASlowReader shows that a reader that takes nothing for a while is
// told that it missed something, and then the state as it is.
func TestMonitorOfASlowReader(t *testing.T) {
	begin(t)
	const many = 80
	decoys(t, many)
	slow, quick := watching(t, many), watching(t, many)
	// Every reload changes all of them, as the quick reader sees.
	t.Cleanup(func() {
		if err := writePolicy("profiles.d", "probe", profileFiles()["probe"]); err != nil {
			t.Error(err)
		}
		reload(t)
	})
	for n := range 2 * events.MaxQueue / many {
		text := strings.Replace(profileFiles()["probe"], image, image+strings.Repeat("x", (n+1)%2), 1)
		if err := writePolicy("profiles.d", "probe", text); err != nil {
			t.Fatal(err)
		}
		reload(t)
		for range many {
			if e := received(t, quick); e.Kind != interfaces.EventChanged {
				t.Fatalf("the quick reader, after reload %d: %+v", n, e)
			}
		}
	}
	told := 0
	e := received(t, slow)
	for ; e.Kind == interfaces.EventChanged; e = received(t, slow) {
		told++
	}
	t.Logf("%d events were told before the overrun", told)
	if e.Kind != interfaces.EventOverrun {
		t.Fatalf("after %d events: %+v", told, e)
	}
	state, e := stated(t, slow)
	want, err := at(t, hostSocket).List(minute(t), interfaces.ListParameters{Agent: new(tester)})
	if diff := cmp.Diff(want, state); err != nil || diff != "" || len(state) != many || e.Kind != interfaces.EventSynchronized {
		t.Errorf("%d in the state, then %s, %v (-listed +told):\n%s", len(state), e.Kind, err, diff)
	}
	run(t, "systemctl", "stop", state[0].Runtime.Unit)
	for e = received(t, slow); e.Kind == interfaces.EventChanged; e = received(t, slow) {
	}
	if e.Kind != interfaces.EventStopped || *e.ID != state[0].ID {
		t.Errorf("then: %+v", e)
	}
}

// watching monitors the tester's sidecars, and has read their state, which has many.
func watching(t *testing.T, many int) *wire {
	t.Helper()
	w := dial(t, hostSocket, 2*time.Minute)
	if err := w.send(request{Method: interfaces.Name + ".Monitor", Parameters: interfaces.MonitorParameters{Agent: new(tester)}, More: true}); err != nil {
		t.Fatal(err)
	}
	state, e := stated(t, w)
	if len(state) != many || e.Kind != interfaces.EventSynchronized {
		t.Fatalf("at first %d, then %+v", len(state), e)
	}
	if state[0].Context == nil {
		t.Fatal("the decoys' documents cannot be read, so no reload changes them")
	}
	return w
}

// stated reads the state that comes first, and the event behind it.
func stated(t *testing.T, w *wire) (state []interfaces.Sidecar, next interfaces.Event) {
	t.Helper()
	for next = received(t, w); next.Kind == interfaces.EventPresent; next = received(t, w) {
		state = append(state, *next.Sidecar)
	}
	return state, next
}

// received reads an event.
func received(t *testing.T, w *wire) interfaces.Event {
	t.Helper()
	f, err := w.receive()
	if err != nil || !f.Continues {
		t.Fatalf("%+v, %v", f, err)
	}
	var reply interfaces.MonitorReply
	if err := json.Unmarshal(f.Parameters, &reply); err != nil {
		t.Fatal(err)
	}
	return reply.Event
}
