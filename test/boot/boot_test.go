//go:build testhost

package boot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/testhost"
)

const (
	agent          = "returner"
	stateDirectory = "/var/lib/returner"
	recordsOnDisk  = "/var/lib/sidecar"
	waitLimit      = 2 * time.Minute // an emulated machine is slow
)

const agentFile = `profiles = ["probe", "after", "quick", "forgotten"]
network-namespaces = ["t-*"]
create-namespaces = ["t-sb-*"]
state-directories = ["/var/lib/returner"]
`

// profileFile is a profile of a shell that writes its pid file and waits.
func profileFile(lines string) string {
	return lines + `
description = "for tests"
image = "localhost/neutron-sidecars:1"
command = ["/bin/sh", "-c", '''for a; do f=${a#*=}; done; trap "exit 0" TERM; echo $$ >$f; while :; do sleep 3600 & wait; done''', "payload"]
instance = "--pid-file"
ready = { pid-file = "--pid-file", timeout = "120s" }
arguments = ["--pid-file={path:rw}"]
`
}

const restores = "boot = \"restore\"\nrestore-timeout = \"30m\"\n"

// install writes the policy. The daemon starts by itself at each boot.
func install(t *testing.T) {
	t.Helper()
	write(t, "/etc/sidecar/agents.d/"+agent+".toml", agentFile)
	for name, lines := range map[string]string{
		"probe": restores, "after": restores + `after = ["probe"]`, "quick": restores + `engine = "runtime"`, "forgotten": "",
	} {
		write(t, "/etc/sidecar/profiles.d/"+name+".toml", profileFile(lines))
	}
	if err := os.MkdirAll(stateDirectory, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "systemctl", "enable", "sidecard")
	run(t, "systemctl", "restart", "sidecard")
}

// memory is what the program remembers over the boots.
type memory struct {
	Back   []string // sidecars that come back
	Maybe  []string // that may come back: the power was lost during their launches
	BootID string   // before the boot
}

const memoryFile = "/var/lib/returner-memory.json"

func remember(t *testing.T, m memory) {
	t.Helper()
	m.BootID = bootID(t)
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	write(t, memoryFile, string(text))
	for _, path := range []string{memoryFile, "/var/lib"} { // only these: the disk is to be as a power loss leaves it
		f, err := os.Open(path)
		if err == nil {
			err = errors.Join(f.Sync(), f.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func recall(t *testing.T) (m memory) {
	t.Helper()
	text, err := os.ReadFile(memoryFile)
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil {
		t.Fatal(err)
	}
	if m.BootID == bootID(t) {
		t.Fatal("the host was not booted")
	}
	return m
}

func bootID(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestLifecycleBoot is run three times, with a shutdown and a power loss in between.
func TestLifecycleBoot(t *testing.T) {
	if os.Getenv("SIDECAR_TESTHOST") != "1" {
		t.Fatal("this test boots the host: scripts/test runs it in a throw-away one")
	}
	switch boots := os.Getenv(testhost.BootsEnv); boots {
	case "0":
		beforeShutdown(t)
	case "1":
		afterShutdown(t)
	case "2":
		afterPowerLoss(t)
	default:
		t.Fatalf("%s=%q", testhost.BootsEnv, boots)
	}
}

func beforeShutdown(t *testing.T) {
	install(t)
	for _, name := range []string{"t-1", "t-2"} {
		run(t, "ip", "netns", "add", name)
	}
	if err := connect(t).CreateNamespace(t.Context(), interfaces.CreateNamespaceParameters{NetworkNamespace: "t-sb-1"}); err != nil {
		t.Fatal(err)
	}
	var back []string
	for _, p := range []interfaces.LaunchParameters{
		launch("probe", "t-1", "probe"), launch("after", "t-1", "after"), launch("quick", "t-2", "quick"), launch("probe", "t-sb-1", "sandbox"),
	} {
		back = append(back, started(t, p).ID)
	}
	started(t, launch("forgotten", "t-1", "forgotten"))
	stopped := started(t, launch("probe", "t-1", "stopped"))
	if _, err := connect(t).Stop(t.Context(), interfaces.StopParameters{ID: stopped.ID}); err != nil {
		t.Error(err)
	}
	for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		killed := started(t, launch("quick", "t-2", "killed"))
		if err := unix.Kill(int(*killed.Runtime.ProcessID), signal); err != nil {
			t.Error(err)
		}
		eventually(t, "the record of the killed one is gone", func() bool { return !exists(recordOf(killed.ID)) })
	}
	if order := run(t, "systemctl", "show", "-P", "After", "sidecar-"+back[1]+".service"); !slices.Contains(strings.Fields(order), "sidecar-"+back[0]+".service") {
		t.Errorf("the second is ordered after %s", order)
	}
	remember(t, memory{Back: back})
	boot(t, testhost.ExitReboot)
}

func afterShutdown(t *testing.T) {
	m := recall(t)
	checkShutdown(t, m)
	sandbox := m.Back[3]
	eventually(t, "the one in a sandbox is back, with its namespace", func() bool { return states(t)[sandbox] == interfaces.StateReady })
	want := map[string]interfaces.SidecarState{sandbox: interfaces.StateReady}
	for _, id := range m.Back[:3] {
		want[id] = interfaces.StateWaiting
	}
	if got := states(t); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("before the namespaces are there: %v, want %v", got, want)
	}
	for _, name := range []string{"t-1", "t-2"} {
		run(t, "ip", "netns", "add", name)
	}
	eventually(t, "all are back", func() bool { return allReady(states(t), m.Back) })
	if first, second := readyAt(t, m.Back[0]), readyAt(t, m.Back[1]); first >= second {
		t.Errorf("the first was ready at %d, the second, which comes after it, at %d", first, second)
	}
	loseThePower(t, m)
}

// checkShutdown looks at how the host went down: in order, and everything in time.
func checkShutdown(t *testing.T, m memory) {
	t.Helper()
	if exists("/run/netns/t-1") {
		t.Error("the network namespaces have survived the boot")
	}
	for _, id := range m.Back {
		if !exists(recordOf(id)) {
			t.Errorf("%s has no record", id)
		}
	}
	records, _ := filepath.Glob(recordsOnDisk + "/*")
	if len(records) != len(m.Back) {
		t.Errorf("records of the sidecars %q, want %q", records, m.Back)
	}
}

// loseThePower loses it while 20 launches are under way.
func loseThePower(t *testing.T, m memory) {
	t.Helper()
	c := connect(t)
	var mu sync.Mutex
	answered := make(chan struct{}, 20)
	for i := range 20 {
		p := launch([]string{"probe", "quick"}[i%2], "t-1", fmt.Sprintf("burst-%d", i))
		makeDirectory(t, p)
		id := interfaces.NewID(agent, p.Profile, strings.TrimPrefix(p.Arguments[0], "--pid-file=")).String()
		m.Maybe = append(m.Maybe, id)
		go func() {
			s, err := c.Launch(context.Background(), p)
			if err == nil {
				mu.Lock()
				m.Back = append(m.Back, s.ID)
				mu.Unlock()
				answered <- struct{}{}
			}
		}()
	}
	for range 7 {
		select {
		case <-answered:
		case <-time.After(waitLimit):
			t.Fatal("7 launches take too long")
		}
	}
	mu.Lock() // whoever is answered from now on is not known to be
	remember(t, m)
	boot(t, testhost.ExitPowerLoss)
}

func afterPowerLoss(t *testing.T) {
	m := recall(t)
	if left, _ := filepath.Glob(recordsOnDisk + "/*.unreadable"); len(left) != 0 {
		t.Errorf("records that cannot be read: %q", left)
	}
	for _, name := range []string{"t-1", "t-2"} {
		run(t, "ip", "netns", "add", name)
	}
	eventually(t, "all that were answered are back", func() bool { return allReady(states(t), m.Back) })
	eventually(t, "nothing waits any more", func() bool {
		for _, state := range states(t) {
			if state == interfaces.StateWaiting {
				return false
			}
		}
		return true
	})
	for id, state := range states(t) {
		if !slices.Contains(m.Back, id) && !slices.Contains(m.Maybe, id) {
			t.Errorf("%s is %s, and nobody has launched it", id, state)
		}
	}
	for id := range states(t) {
		if _, err := connect(t).Stop(t.Context(), interfaces.StopParameters{ID: id}); err != nil {
			t.Error(err)
		}
	}
	if left, _ := filepath.Glob(recordsOnDisk + "/*.json"); len(left) != 0 {
		t.Errorf("records of what was stopped: %q", left)
	}
	force := true
	if err := connect(t).DeleteNamespace(t.Context(), interfaces.DeleteNamespaceParameters{NetworkNamespace: "t-sb-1", Force: &force}); err != nil {
		t.Error(err)
	}
}

// boot ends the program, which is run again after the boot.
func boot(t *testing.T, code int) {
	t.Helper()
	if t.Failed() {
		t.FailNow()
	}
	fmt.Println("the host boots again")
	os.Exit(code)
}

func connect(t *testing.T) *client.Client {
	t.Helper()
	c, err := client.New("/run/sidecar/agents/" + agent + "/io.tripleo.Sidecar")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func launch(profile, netns, name string) interfaces.LaunchParameters {
	return interfaces.LaunchParameters{
		Profile: profile, NetworkNamespace: &netns, Arguments: []string{"--pid-file=" + filepath.Join(stateDirectory, name, "pid")},
	}
}

func started(t *testing.T, p interfaces.LaunchParameters) *interfaces.Sidecar {
	t.Helper()
	makeDirectory(t, p)
	s, err := connect(t).Launch(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// makeDirectory makes the directory of the launch's pid file.
func makeDirectory(t *testing.T, p interfaces.LaunchParameters) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(strings.TrimPrefix(p.Arguments[0], "--pid-file=")), 0o755); err != nil {
		t.Fatal(err)
	}
}

// states returns the states of the agent's sidecars, by ID.
func states(t *testing.T) map[string]interfaces.SidecarState {
	t.Helper()
	all, err := connect(t).List(t.Context(), interfaces.ListParameters{})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]interfaces.SidecarState{}
	for _, s := range all {
		found[s.ID] = s.Runtime.State
	}
	return found
}

func allReady(states map[string]interfaces.SidecarState, ids []string) bool {
	return !slices.ContainsFunc(ids, func(id string) bool { return states[id] != interfaces.StateReady })
}

func readyAt(t *testing.T, id string) int64 {
	t.Helper()
	s, err := connect(t).Get(t.Context(), id)
	if err != nil || s.Runtime.ReadyUSec == nil {
		t.Fatalf("%s: %+v, %v", id, s, err)
	}
	return *s.Runtime.ReadyUSec
}

func recordOf(id string) string { return filepath.Join(recordsOnDisk, id+".json") }

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v: %s", argv, err, out)
	}
	return strings.TrimSpace(string(out))
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(waitLimit); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s; %v", waitLimit, what, states(t))
		}
	}
}
