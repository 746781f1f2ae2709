package service

import (
	"context"
	"slices"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/retry"
	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/systemd"
)

const (
	// tidyPause is the pause between two looks at failed units.
	tidyPause = time.Minute
	// sweepEvery is how often sidecar-clean.service looks for what nobody has noted: containers
	// without a unit, and pins and templates that nobody needs.
	sweepEvery = time.Hour
	// maxFailed is how many failed sidecars of one agent are kept. systemd holds some 50 KiB for
	// each.
	maxFailed = 50
)

// Tidy removes failed sidecars that are older than KeepFailed, and has sidecar-clean.service
// look for what is left, at once and every hour, until ctx ends.
func (c *Core) Tidy(ctx context.Context) {
	var swept time.Time
	for ; ctx.Err() == nil; _ = retry.Pause(ctx, tidyPause) {
		if time.Since(swept) >= sweepEvery {
			c.askForSweep()
			swept = time.Now()
		}
		c.removeOldFailures(ctx)
	}
}

// removeOldFailures removes failed units. An operator has seen them by then, or the agent has
// newer ones.
func (c *Core) removeOldFailures(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, tidyPause)
	defer cancel()
	var failed []systemd.Unit
	for _, pattern := range []string{interfaces.UnitPattern, document.PreparationName("*") + ".service"} {
		units, err := c.listUnits(ctx, "", pattern)
		if err != nil {
			c.Logger.Warn("old failures stay for now", "error", err)
			return
		}
		failed = append(failed, slices.DeleteFunc(units, func(u systemd.Unit) bool { return u.ActiveState != stateFailed })...)
	}
	slices.SortFunc(failed, func(a, b systemd.Unit) int { return int(failedAt(b)) - int(failedAt(a)) })
	kept := map[string]int{}
	oldest := time.Now().Add(-c.KeepFailed).UnixMicro()
	for _, unit := range failed {
		id, isSidecar := interfaces.ParseUnit(unit.Name)
		if kept[id.Agent]++; kept[id.Agent] <= maxFailed && failedAt(unit) > oldest {
			continue
		}
		if !isSidecar {
			_, _ = c.Units.Stop(ctx, unit.Name, 0) // or in a minute
		} else if c.removeIfFailed(ctx, id) {
			c.Logger.Info("a failed sidecar was removed: it is old, or its agent has many newer ones",
				"sidecar", id.String(), "failed", time.UnixMicro(failedAt(unit)))
		}
	}
}

// failedAt returns when a failed unit's process ended, or, without a process, when it was started.
func failedAt(u systemd.Unit) int64 { return int64(max(u.ExitedUSec, u.StartedUSec)) }
