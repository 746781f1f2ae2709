package systemd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// unrefAttempts is how often a reference is tried to be dropped again that could
// not be for want of the bus or of a slot; each try waits for CallTimeout.
const unrefAttempts = 5

// Stop stops a unit, waits for its stop job and returns what the unit was last,
// with its exit status, although systemd forgets it: nothing of the unit is left
// afterwards, even if it failed. A running start is cancelled.
//
// If killAfter is not 0, the main process is killed if it is left then, and the
// others after it; otherwise systemd does so after the unit's own
// TimeoutStopUSec. Errors: ErrNoSuchUnit; a *JobError if another job took the
// place of this one; ErrDisconnected; ctx's, and then the stop goes on without the
// caller. A unit that is frozen (systemctl freeze) is thawed: systemd refuses to stop it.
func (c *Conn) Stop(ctx context.Context, name string, killAfter time.Duration) (Unit, error) {
	w := c.watches.add(name)
	defer w.close()
	c.ref(ctx, name)
	defer c.unref(ctx, name)
	u, err := c.stopOnce(ctx, w, name, killAfter)
	var frozen *JobError
	if errors.As(err, &frozen) && frozen.Result == jobFrozen {
		if _, err := c.call(ctx, managerPath, managerMethod+"ThawUnit", name); err != nil {
			return u, fmt.Errorf("thaw %s: %w", name, err)
		}
		u, err = c.stopOnce(ctx, w, name, killAfter)
	}
	return u, err
}

func (c *Conn) stopOnce(ctx context.Context, w *watch, name string, killAfter time.Duration) (Unit, error) {
	body, err := c.retry(ctx, managerPath, managerMethod+"StopUnit", name, "replace")
	c.cache.touch(unitPath(name))
	if err != nil {
		return Unit{}, fmt.Errorf("stop %s: %w", name, err)
	}
	job, err := jobReply(body)
	if err != nil {
		return Unit{}, fmt.Errorf("stop %s: %w", name, err)
	}
	defer c.killLater(ctx, name, killAfter)()
	u, result, err := c.awaitJob(ctx, w, job)
	if err != nil {
		return Unit{}, err
	}
	if u.ActiveState == "failed" {
		c.resetFailed(ctx, name)
	}
	if result == "" {
		result = guessStop(u)
	}
	return u, jobError(u, result)
}

// ref keeps systemd from forgetting the unit before it has been read. Without a
// reference a stop still works, but its exit status may be lost; so this has no
// error. It is not tried twice, for systemd counts.
func (c *Conn) ref(ctx context.Context, name string) {
	if _, err := c.call(ctx, unitPath(name), unitMethod+"Ref"); err != nil {
		c.config.Logger.Debug("cannot hold a unit", "unit", name, "error", err)
	}
}

// unref drops the reference, for a caller that has gone too. As long as one is
// held systemd keeps the unit and no other can have its name, so it tries hard. A
// connection that ends drops its references by itself.
func (c *Conn) unref(ctx context.Context, name string) {
	ctx = context.WithoutCancel(ctx)
	_, err := c.call(ctx, unitPath(name), unitMethod+"Unref")
	for range unrefAttempts {
		if !errors.Is(err, errNotSent) {
			break
		}
		_ = pause(ctx, maxRetry)
		_, err = c.call(ctx, unitPath(name), unitMethod+"Unref")
	}
	if err != nil {
		c.config.Logger.Debug("cannot let go of a unit", "unit", name, "error", err)
	}
	c.cache.touch(unitPath(name))
}

func (c *Conn) resetFailed(ctx context.Context, name string) {
	if err := c.ResetFailed(context.WithoutCancel(ctx), name); err != nil {
		c.config.Logger.Warn("cannot forget a failed unit", "unit", name, "error", err)
	}
}

// killLater kills what is left of the unit after a while, unless stop is called
// before; 0 is never. It kills the main process and systemd the rest: to kill "all"
// writes cgroup.kill, and then the kernel may kill what systemd starts afterwards in
// a group that was there before, such as the unit's own ExecStopPost= (seen with
// systemd 257 on Linux 6.18). When stop has returned, no kill is under way that
// could hit the next unit of this name.
func (c *Conn) killLater(ctx context.Context, name string, after time.Duration) (stop func()) {
	if after <= 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if pause(ctx, after) != nil {
			return
		}
		_, err := c.call(ctx, managerPath, managerMethod+"KillUnit", name, "main", int32(unix.SIGKILL))
		if err != nil && ctx.Err() == nil {
			c.config.Logger.Warn("cannot kill a unit", "unit", name, "error", err)
		}
	}()
	return func() { cancel(); <-done }
}
