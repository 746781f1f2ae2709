//go:build testhost

package test

import (
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// TestSpoolConcurrentLaunches kills the spool's server five times in the middle of many
// launches through shims by 30 callers.
func TestSpoolConcurrentLaunches(t *testing.T) {
	begin(t)
	const threads = 30
	each := burstSize() / threads
	all := networks(t, threads*each)
	withSpool(t)
	stopAllAtEnd(t, spooled)
	s := shimsOf(t, spooled)
	since, began := now(), time.Now()
	answers := make([]answer, len(all))
	var answered atomic.Int64
	var callers sync.WaitGroup
	for thread := range threads {
		callers.Go(func() {
			for i := thread * each; i < (thread+1)*each; i++ {
				answers[i].network = all[i]
				if r := wait(t, s.spooledCommand(t, all[i].namespace, "dnsmasq", all[i].quiet().Arguments...)); r.code != 0 || r.out+r.err != "" {
					answers[i].err = errors.New(r.String())
				}
				answered.Add(1)
			}
		})
	}
	killed := 0
	for i := range int64(5) {
		eventually(t, 2*time.Minute, "launches go on", func() bool { return answered.Load() >= (i+1)*int64(len(all)/8) })
		if killServer(t) {
			killed++
		}
	}
	callers.Wait()
	t.Logf("%d launches took %v, the server was killed %d times", len(all), time.Since(began).Round(time.Millisecond), killed)
	if killed != 5 {
		t.Errorf("the server was killed %d times", killed)
	}
	for i, a := range answers {
		if a.err != nil {
			t.Fatalf("%s: %v", a.network.id, a.err)
		}
		answers[i].sidecar = get(t, spooled, interfaces.NewID(spooled, "dnsmasq", a.network.file("pid")).String())
	}
	checkEachStartedOnce(t, since, answers)
}

// killServer kills the server of the spool with SIGKILL, and reports whether it ran.
func killServer(t *testing.T) bool {
	t.Helper()
	pid, err := strconv.Atoi(show(t, serverUnit, "MainPID"))
	return err == nil && pid > 0 && syscall.Kill(pid, syscall.SIGKILL) == nil
}

// checkEachStartedOnce holds that every answer's sidecar runs, and by the journal
// that systemd has started its unit once.
func checkEachStartedOnce(t *testing.T, since string, answers []answer) {
	t.Helper()
	started := map[string]int{}
	for _, e := range entriesSince(t, since, "_PID=1", "JOB_TYPE=start", "JOB_RESULT=done") {
		if unit, ok := e["UNIT"].(string); ok {
			started[unit]++
		}
	}
	for _, a := range answers {
		if err := running(a.sidecar, a.network.quiet().Arguments); err != nil {
			t.Error(err)
		}
		if got := started[a.sidecar.Runtime.Unit]; got != 1 {
			t.Errorf("%s was started %d times", a.sidecar.ID, got)
		}
	}
	if listed, err := as(t, spooled).List(minute(t), interfaces.ListParameters{}); err != nil || len(listed) != len(answers) {
		t.Errorf("%d answers, but %d are listed, %v", len(answers), len(listed), err)
	}
}
