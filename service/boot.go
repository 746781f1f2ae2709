package service

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/records"
	"tripleo.io/sidecar/service/systemd"
)

// Sidecars of profiles with boot = "restore" come back after a boot of the host, by their
// records (package records). A record exists from before the start until
//
//   - the launch fails, so that nothing runs,
//   - a Stop has stopped the sidecar, or
//   - its unit ends in another way while the host is not being shut down.
//
// So what ran when the host went down comes back, however it went down, and what an agent, a
// signal, an operator or a crash has ended does not. What is not known, as when systemd does
// not answer, is looked at when systemd answers again.

// Records keeps the requests of sidecars that come back: records.Directory.
type Records interface {
	Read(id interfaces.ID) (*records.Record, error)
	Write(id interfaces.ID, r records.Record) error
	Remove(id interfaces.ID) error
	All() (map[interfaces.ID]records.Record, error)
}

// keepRecord writes the record of a launch that is about to start, under the sidecar's lock
// and before it takes a slot: a slow disk holds up this sidecar only. Without the record the
// launch goes on, because a side process that does not come back after a boot is better than
// none at all.
func (c *Core) keepRecord(ctx context.Context, a *attempt) {
	restores := a.decision.Profile.RestoreTimeout > 0
	if c.Records == nil || !restores && !c.recorded.has(a.id) {
		return
	}
	var err error
	if a.sandbox, err = c.isSandbox(ctx, a.id.Agent, a.context.NetworkNamespace); err != nil {
		c.Logger.Warn("it is not known who made a network namespace; it will not come back after a boot", "sidecar", a.id.String(), "error", err)
	}
	if !restores || a.call.restores { // the present record is right until the launch has ended
		a.hold(func() { c.settleRecord(a, false, nil) })
		return
	}
	before, err := c.Records.Read(a.id)
	if err != nil {
		c.Logger.Warn("a record cannot be read", "sidecar", a.id.String(), "error", err)
	}
	c.recorded.add(a.id, nil)
	if err := c.Records.Write(a.id, a.record(c.BootID)); err != nil {
		c.Logger.Error("a sidecar will not come back after a boot: its record cannot be written", "sidecar", a.id.String(), "error", err)
		a.hold(func() {
			if a.begun || before == nil {
				_ = c.dropRecord(a.id) // it would bring another request back
			}
		})
		return
	}
	a.hold(func() { c.settleRecord(a, true, before) })
}

// record returns the record of the launch in this boot of the host.
func (a *attempt) record(boot string) records.Record {
	return records.Record{Boot: boot, Context: a.context, TimeoutUSec: a.asked, Sandbox: a.sandbox}
}

// settleRecord makes the record right when a launch has ended. written says that the launch has
// written its own, over the record before.
func (c *Core) settleRecord(a *attempt, written bool, before *records.Record) {
	restores := a.decision.Profile.RestoreTimeout > 0
	again := a.call.restores && canTryAgain(a.err)
	var err error
	switch {
	case !a.begun && written && before != nil:
		err = c.Records.Write(a.id, *before)
	case !a.begun && written:
		err = c.dropRecord(a.id)
	case !a.begun, again, unknown(a.err):
	case a.err == nil && restores && !written: // it has come back
		err = c.Records.Write(a.id, a.record(c.BootID))
	case a.err == nil && restores:
	default: // nothing runs, or what runs does not come back
		err = c.dropRecord(a.id)
	}
	if err != nil {
		c.Logger.Error("a record is not what it should be", "sidecar", a.id.String(), "error", err)
	}
	if a.begun && !again {
		c.endWait(a.id)
	}
}

// unknown reports whether something may run although the launch has failed.
func unknown(err error) bool {
	return err != nil && !errors.Is(err, interfaces.ErrLaunchFailed) && !errors.Is(err, interfaces.ErrNotReady) &&
		!errors.Is(err, interfaces.ErrLaunchStopped)
}

// dropRecord removes the record of a sidecar, if it has one, and ends its wait. The caller
// must have the sidecar's lock.
func (c *Core) dropRecord(id interfaces.ID) error {
	if c.Records == nil || !c.recorded.has(id) {
		return nil
	}
	if err := c.Records.Remove(id); err != nil {
		c.Logger.Error("a record cannot be removed: the sidecar would come back after a boot", "sidecar", id.String(), "error", err)
		return &interfaces.HostFailureError{Reason: "remove the record of the sidecar, by which it would come back after a boot: " + err.Error()}
	}
	c.recorded.remove(id)
	c.endWait(id)
	return nil
}

// forgetMissing removes the records of all sidecars that have ended.
func (c *Core) forgetMissing() {
	started := c.recorded.started()
	if len(started) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	units, err := c.listUnits(ctx, "", interfaces.UnitPattern)
	if err != nil {
		return // the next look at all units comes after the failure
	}
	runs := map[string]bool{}
	for _, u := range units {
		runs[u.Name] = u.ActiveState != stateFailed
	}
	c.forgetEnded(slices.DeleteFunc(started, func(id interfaces.ID) bool { return runs[id.Unit()] }))
}

// forgetEnded removes the records of these sidecars, whose units have ended, unless they have been
// launched again meanwhile.
func (c *Core) forgetEnded(ids []interfaces.ID) {
	for _, id := range ids {
		if c.recorded.has(id) && !c.recorded.waits(id) {
			go c.forgetIfEnded(id)
		}
	}
}

// forgetIfEnded removes the record of a sidecar whose unit has ended.
func (c *Core) forgetIfEnded(id interfaces.ID) {
	var err error
	defer c.caught("the end of a sidecar", &err)
	ctx, cancel := context.WithTimeout(context.Background(), maxTimeout)
	defer cancel()
	unlock, _, err := c.locks.lockStop(ctx, id, 0, func(*interruption) bool { return false })
	if err != nil {
		return // the next look at all units comes to it again
	}
	defer unlock()
	if c.recorded.waits(id) || c.hostStops(ctx) {
		return
	}
	units, err := c.Units.List(ctx, id.Unit())
	if err == nil && (len(units) == 0 || units[0].ActiveState == stateFailed) {
		_ = c.dropRecord(id) // it is logged
	}
}

// hostStops reports whether the host is being shut down, or may be: systemd has a job for
// shutdown.target from the moment in which it has the jobs that stop the units
// (systemd.special(7)).
func (c *Core) hostStops(ctx context.Context) bool {
	_, err := c.Units.Get(ctx, "shutdown.target")
	return !errors.Is(err, systemd.ErrNoSuchUnit)
}

// HostBootID tells the host's boots apart: the kernel's ID (random(4)), and when process 1 was
// started (proc_pid_stat(5)). In a container, the kernel's stays; systemd-nspawn(1) mounts
// another one over it, which ProtectKernelTunables= of systemd 252 hides.
func HostBootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	stat, err := os.ReadFile("/proc/1/stat")
	if err != nil {
		return "", err
	}
	const starttime = 22 - 3 // the first field after the name is the third
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) <= starttime {
		return "", fmt.Errorf("/proc/1/stat has no start time: %q", stat)
	}
	return strings.TrimSpace(string(id)) + "/" + fields[starttime], nil
}

// LoadRecords reads the records. It must be called before the first call. Sidecars whose records are
// of an earlier boot wait from now on.
func (c *Core) LoadRecords() {
	if c.Records == nil {
		return
	}
	all, err := c.Records.All()
	if err != nil {
		c.Logger.Error("sidecars will not come back: their records cannot be read", "error", err)
	}
	places := map[string]int{}
	// In the order of their IDs: the same ones are too many each time.
	for _, id := range slices.SortedFunc(maps.Keys(all), func(a, b interfaces.ID) int { return cmp.Compare(a.String(), b.String()) }) {
		r := all[id]
		c.recorded.add(id, nil)
		if r.Boot == c.BootID {
			continue // it runs, or the first look at the units finds that it has ended
		}
		places[id.Agent]++
		c.recorded.add(id, c.newWaiting(id, r, places[id.Agent]))
	}
}
