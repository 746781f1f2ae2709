package launcher

import (
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/netns/netnstest"
)

// privatePlan returns a plan like keepalived's: a directory that holds the pid
// files of all routers, and the router's own directory within it.
func (r rig) privatePlan(t *testing.T) *document.Document {
	t.Helper()
	must(t, os.MkdirAll(r.state+"/ha_confs/r/deep", 0o755))
	must(t, os.WriteFile(r.state+"/ha_confs/secret", nil, 0o600))
	p := r.plan()
	p.Mounts = []document.Mount{
		{Root: r.state, Path: "ha_confs/r/deep", Private: true, Writable: true},
		{Root: r.state, Path: "ha_confs/r"},
		{Root: r.state, Path: "ha_confs", Private: true, Writable: true},
		{Root: r.state, Path: "missing", Private: true, Optional: true},
	}
	p.PIDFiles = []document.File{{Root: r.state, Path: "ha_confs/r.pid"}}
	return p
}

func TestLaunchPrivateMountShowsNothingOfTheAgent(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	r := newRig(t)
	p := r.privatePlan(t)
	must(t, r.Prepare(p))
	for dir, want := range map[string]string{"2": "r", "2/r": "deep", "2/r/deep": "", "3": ""} {
		entries, err := os.ReadDir(r.pin("mounts/" + dir))
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		if got := strings.Join(names, " "); got != want || err != nil {
			t.Errorf("%s holds %q, %v, want %q", dir, got, err, want)
		}
	}
	for file, fails := range map[string]error{"2/pid": nil, "2/r/pid": unix.EROFS, "2/r/deep/pid": nil} {
		err := os.WriteFile(r.pin("mounts/"+file), []byte("1\n"), 0o644)
		if (err == nil) != (fails == nil) {
			t.Errorf("writing %s: %v, want %v", file, err, fails)
		}
	}
	if err := os.WriteFile(r.pin("mounts/2/big"), make([]byte, 128<<10), 0o644); err == nil {
		t.Error("a private mount takes 128 KiB")
	}
	if _, err := os.Stat(r.state + "/ha_confs/pid"); err == nil {
		t.Error("what was written is in the agent's directory")
	}
	must(t, r.Clean(testID))
	r.checkNothingLeft(t)
}

// TestReadyKeepsThePayloadAwayFromTheAgentsPIDFile: the number goes into the
// agent's file, and what the payload writes later does not.
func TestReadyKeepsThePayloadAwayFromTheAgentsPIDFile(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	r := newRig(t)
	p := r.privatePlan(t)
	must(t, r.Prepare(p))
	main := mainOf(t)
	written, agents := r.pin("mounts/2/r.pid"), r.state+"/ha_confs/r.pid"
	for _, number := range []string{"1\n", "7\n"} {
		must(t, os.WriteFile(written, []byte(number), 0o644))
		if number == "1\n" {
			pid, err := r.Ready(deadline(t, 10*time.Second), p, unitOf(main.Process.Pid, map[int]int{1: 200}), main.Process.Pid)
			if pid != 200 || err != nil {
				t.Fatalf("process %d, %v, want 200", pid, err)
			}
		}
		for file, want := range map[string]string{agents: "200\n", written: number} {
			if text, err := os.ReadFile(file); string(text) != want {
				t.Errorf("%s holds %q, %v, want %q", file, text, err, want)
			}
		}
	}
	must(t, os.Remove(written))
	must(t, os.Symlink(agents, written))
	_, err := r.Ready(deadline(t, time.Second), p, unitOf(main.Process.Pid, map[int]int{1: 200}), main.Process.Pid)
	if err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("with a link as what it writes: %v", err)
	}
}

func TestLaunchPrivateMountMustBeTheAgents(t *testing.T) {
	t.Parallel()
	p := documentOf(document.Plan{ID: testID, PIDNamespace: document.Private, Mounts: []document.Mount{{Path: "/srv/x", Private: true}}})
	if err := p.Validate(); err == nil {
		t.Error("a private mount over a fixed path was accepted")
	}
}
