package systemd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/internal/retry"
)

// unrefAttempts is how often an Unref that could not be sent is repeated. Each attempt
// waits for the bus and a slot for CallTimeout.
const unrefAttempts = 5

// Stop stops a unit, waits for its stop job and returns the unit's last state, with its exit
// status. Afterwards systemd has forgotten the unit, even if it failed. A running start is
// cancelled. A frozen unit (systemctl freeze) is thawed, because systemd refuses to stop it.
//
// If the main process still runs after killAfter, it is killed, and the others after it;
// with 0 systemd does so after the unit's TimeoutStopUSec. Errors: ErrNoSuchUnit; a
// *JobError if another job has replaced this one; ErrDisconnected; ctx's, and then the stop
// goes on without the caller.
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

// QueueStop has a unit stopped, and does not wait for it. From then on systemd does not start it
// again by itself, whatever its Restart= says. The error is ErrNoSuchUnit for a unit that does not
// exist.
func (c *Conn) QueueStop(ctx context.Context, name string) error {
	_, err := c.retry(ctx, managerPath, managerMethod+"StopUnit", name, "replace")
	c.cache.touch(unitPath(name))
	if err != nil {
		return fmt.Errorf("stop %s: %w", name, err)
	}
	return nil
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
		if err := c.ResetFailed(context.WithoutCancel(ctx), name); err != nil {
			c.config.Logger.Warn("cannot reset a failed unit", "unit", name, "error", err)
		}
	}
	if result == "" {
		result = guessStop(u)
	}
	return u, jobError(u, result)
}

// ref keeps systemd from forgetting the unit before it is read. A failure is not an error: the
// stop works without a reference, and only the exit status may be lost. ref is never
// repeated, because systemd counts references.
func (c *Conn) ref(ctx context.Context, name string) {
	if _, err := c.call(ctx, unitPath(name), unitMethod+"Ref"); err != nil {
		c.config.Logger.Debug("cannot take a reference to a unit", "unit", name, "error", err)
	}
}

// unref drops the reference, even if the caller has gone: systemd keeps the unit, and with
// it the name, while a reference is held. The end of the connection drops references, too.
func (c *Conn) unref(ctx context.Context, name string) {
	ctx = context.WithoutCancel(ctx)
	var err error
	attempts := 0
	retry.Do(ctx, maxRetry, maxRetry, func() bool {
		_, err = c.call(ctx, unitPath(name), unitMethod+"Unref")
		attempts++
		return errors.Is(err, errNotSent) && attempts <= unrefAttempts
	})
	if err != nil {
		c.config.Logger.Debug("cannot drop the reference to a unit", "unit", name, "error", err)
	}
	c.cache.touch(unitPath(name))
}

// killLater kills the unit's main process after a while, unless stop is called before; 0
// means never. systemd then kills the others. To kill "all" would write cgroup.kill, and
// the kernel may then kill what systemd starts later in a group that existed before, such
// as ExecStopPost= (seen with systemd 257 on Linux 6.18). When stop has returned, no kill
// is under way that could hit the next unit of this name.
func (c *Conn) killLater(ctx context.Context, name string, after time.Duration) (stop func()) {
	if after <= 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if retry.Pause(ctx, after) != nil {
			return
		}
		_, err := c.call(ctx, managerPath, managerMethod+"KillUnit", name, "main", int32(unix.SIGKILL))
		if err != nil && ctx.Err() == nil {
			c.config.Logger.Warn("cannot kill a unit", "unit", name, "error", err)
		}
	}()
	return func() { cancel(); <-done }
}
