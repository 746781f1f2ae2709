package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/retry"
	"tripleo.io/sidecar/service/policy"
)

const (
	// restorePause is how often the sidecars that wait are looked at. A look at a namespace
	// takes some 20 µs, and inotify(7) on a directory that agents may mount over could hang.
	restorePause = time.Second
	// restoreAgain is the pause after an attempt that the host has failed.
	restoreAgain = 10 * time.Second
	// restoreWidth is how many sidecars of one agent come back at once, or wait for their turn. A
	// width for all agents would be used up by one whose starts take their full time.
	restoreWidth = 16
)

// Restore starts the sidecars that wait, until none waits or ctx ends. A sidecar is started
// when its network namespace exists and no sidecar waits that its profile comes after. It is a
// launch like its agent's own, by the policy of now. A launch of the same sidecar by its
// agent comes first: then there is nothing to restore.
func (c *Core) Restore(ctx context.Context) {
	var attempts errgroup.Group
	defer func() { _ = attempts.Wait() }() // their errors are in the journal
	for ctx.Err() == nil {
		all := c.recorded.allWaiting()
		if len(all) == 0 {
			return
		}
		busy := map[string]int{} // by agent
		for _, w := range all {
			if w.busy.Load() {
				busy[w.id.Agent]++
			}
		}
		for _, w := range all {
			if busy[w.id.Agent] >= restoreWidth || w.busy.Load() || !c.isDue(w, all) {
				continue
			}
			busy[w.id.Agent]++
			w.busy.Store(true)
			attempts.Go(func() error { c.restore(ctx, w); return nil })
		}
		_ = retry.Pause(ctx, restorePause)
	}
}

// isDue reports whether the wait of a sidecar is over, well or not. all are the
// sidecars that wait.
func (c *Core) isDue(w *waitingSidecar, all []*waitingSidecar) bool {
	if c.checkReturn(w) != nil {
		return true
	}
	profile, ok := c.policy.Load().Profile(w.id.Profile)
	if !ok || !time.Now().After(w.next) || comesAfter(profile, w, all) {
		return false
	}
	exists, known := c.lookForNamespace(w)
	return exists || known && w.record.Sandbox
}

// comesAfter reports whether w must come after another sidecar that still waits.
func comesAfter(profile *policy.Profile, w *waitingSidecar, all []*waitingSidecar) bool {
	return slices.ContainsFunc(all, func(other *waitingSidecar) bool {
		return other != w && other.id.Agent == w.id.Agent && slices.Contains(profile.After, other.id.Profile) &&
			orEmpty(other.record.Context.NetworkNamespace) == orEmpty(w.record.Context.NetworkNamespace)
	})
}

// lookForNamespace reports whether the network namespace of a sidecar that waits exists, and
// whether that is known: another agent can make the look hang, and must not have the sidecar given
// up by that.
func (c *Core) lookForNamespace(w *waitingSidecar) (exists, known bool) {
	name := w.record.Context.NetworkNamespace
	if name == nil {
		return true, true
	}
	err := c.Namespaces.Check(Caller{Agent: w.id.Agent}, *name)
	return err == nil, !errors.Is(err, interfaces.ErrHostFailure)
}

func (c *Core) namespaceExists(w *waitingSidecar) bool {
	exists, _ := c.lookForNamespace(w)
	return exists
}

func (c *Core) namespaceMissing(w *waitingSidecar) bool {
	exists, known := c.lookForNamespace(w)
	return known && !exists
}

// restore makes one attempt, and drops the record unless another one can help.
func (c *Core) restore(ctx context.Context, w *waitingSidecar) {
	var err error
	defer w.busy.Store(false)
	defer c.caught("the return of a sidecar", &err)
	// An agent could mount over what is looked at here, so its own limits hold.
	call := newCall(Caller{Agent: w.id.Agent, PIDFD: -1}, "Restore", actionLaunch, nil, w.id.Profile, nil)
	call.restores = true
	call.setSidecar(w.id)
	if err = c.checkReturn(w); err == nil {
		err = c.bringNamespace(ctx, w)
	}
	if err != nil {
		c.record(call, err)
	} else {
		r := w.record.Context
		_, err = c.launch(ctx, call, interfaces.LaunchParameters{
			Profile: r.Profile, Arguments: r.Arguments, NetworkNamespace: r.NetworkNamespace, ProcessTag: r.ProcessTag,
			Mode: new(interfaces.ModeFail), TimeoutUSec: w.record.TimeoutUSec,
		})
	}
	switch {
	case err == nil, errors.Is(err, interfaces.ErrSidecarExists), errors.Is(err, interfaces.ErrLaunchStopped):
		c.endWait(w.id) // it runs, or its agent has launched or stopped it
	case ctx.Err() != nil, canTryAgain(err) && time.Now().Before(w.until):
		w.next = time.Now().Add(restoreAgain)
	default:
		c.giveUp(ctx, w)
	}
}

// canTryAgain reports whether a launch may succeed a little later after a boot: the host was not
// ready for it.
func canTryAgain(err error) bool {
	failed, ok := errors.AsType[*interfaces.LaunchFailedError](err)
	return errors.Is(err, interfaces.ErrHostFailure) || errors.Is(err, interfaces.ErrOverloaded) ||
		errors.Is(err, interfaces.ErrNoSuchNetworkNamespace) ||
		ok && failed.Phase != nil && (*failed.Phase == interfaces.PhasePreparation || *failed.Phase == interfaces.PhaseEngine)
}

// bringNamespace makes the namespace of a sidecar that waits, if the service has made it before.
func (c *Core) bringNamespace(ctx context.Context, w *waitingSidecar) error {
	if !w.record.Sandbox || c.namespaceExists(w) {
		return nil
	}
	name := *w.record.Context.NetworkNamespace
	agent, err := c.policy.Load().DecideSandbox(w.id.Agent, name)
	if err == nil {
		err = c.withSandboxes(ctx, agent, func(ctx context.Context, agent *policy.Agent) error {
			return c.createNamespace(ctx, agent, name)
		})
	}
	if errors.Is(err, interfaces.ErrNamespaceExists) { // for another sidecar in it
		return nil
	}
	return err
}

// checkReturn says why a sidecar cannot come back, whatever its request.
func (c *Core) checkReturn(w *waitingSidecar) error {
	set := c.policy.Load()
	agent, known := set.Agent(w.id.Agent)
	profile, ok := set.Profile(w.id.Profile)
	switch {
	case !known:
		return &interfaces.NoSuchAgentError{Agent: w.id.Agent}
	case w.place > agent.MaxSidecars:
		return &interfaces.TooManySidecarsError{Limit: int64(agent.MaxSidecars)}
	case !ok:
		return &interfaces.NoSuchProfileError{Profile: w.id.Profile}
	case profile.RestoreTimeout == 0:
		return invalid("profile", w.id.Profile+` does not say boot = "restore" any more`)
	case time.Now().After(w.until) && c.namespaceMissing(w):
		return &interfaces.NoSuchNetworkNamespaceError{
			NetworkNamespace: w.record.Context.NetworkNamespace,
			Reason:           fmt.Sprintf("it does not exist %v after the start of the service; see restore-timeout of the profile", profile.RestoreTimeout),
		}
	}
	return nil
}

// giveUp drops the record of a sidecar that waits, unless it was launched meanwhile.
func (c *Core) giveUp(ctx context.Context, w *waitingSidecar) {
	unlock, _, err := c.locks.lockStop(ctx, w.id, 0, func(*interruption) bool { return false })
	if err != nil {
		return
	}
	defer unlock()
	if c.recorded.waits(w.id) {
		_ = c.dropRecord(w.id)
		c.endWait(w.id) // also if the disk fails
	}
}
