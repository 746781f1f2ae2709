package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"tripleo.io/sidecar/interfaces"
)

// Results of a sidecar in a recycle.
const (
	recycleReplaced = "replaced" // the new run is ready
	recycleSkipped  = "skipped"  // its agent has launched or stopped it meanwhile
	recycleKept     = "kept"     // it runs on, because a launch is refused
	recycleFailed   = "failed"   // its launch failed
	recycleRemains  = "remains"  // not tried, because another one has failed
	recycleWould    = "replace"  // would be replaced (--dry-run)
)

// recycled is what a recycle did with a sidecar.
type recycled struct {
	ID       string `json:"id"`
	Result   string `json:"result"`
	Reason   string `json:"reason,omitempty"`
	AwayUSec *int64 `json:"awayUSec,omitempty"` // from the end of the old process to the new one's readiness; nil: not known

	err error // of a sidecar that was kept or has failed
}

// recycleOptions are the options of recycle.
type recycleOptions struct {
	selectors
	outdated, dryRun bool
	width            int
	pause            time.Duration
	before           instant
}

func newRecycle(t *tool) *cobra.Command {
	o := recycleOptions{before: instant{now: t.out.now}}
	cmd := &cobra.Command{
		Use:   "recycle [ID…]",
		Short: "Replace sidecars in place, with the current image and policy",
		Long: `Replace sidecars in place: each is launched again with its own request, so that it
runs the current image, profile and agent's file.

Sidecars are chosen by ID, by options, or both. Only those that every option matches
and that are ready are replaced (one that has failed or is restarting only if it is
named by its ID), at most --max-unavailable at once. Each batch waits until its
sidecars are ready, and healthy if their profile has a probe. At the first failure
the recycle stops, after the batch; what it has not tried runs on.

One line tells about each sidecar:

    replaced  the new process is ready; AWAY is how long there was none, if the old
              process can be seen from here
    skipped   the sidecar's agent has launched or stopped it since the recycle began:
              the agent always wins, and the recycle replaces only the run that it
              has listed
    kept      it runs on, because the policy now refuses its request, or its network
              namespace does not exist any more; the recycle goes on, and the exit
              code says so at the end
    failed    its launch failed; the error says why, and 'sidecarctl recycle ID' tries
              again
    remains   it was not tried

To resume a recycle with --outdated, run the same command again. Without this option,
add the --started-before that the recycle shows at its end. TIME is a time, such as
2026-11-30T12:00:00Z, or how long ago, such as 10m.

While a sidecar is away, its pid file names no process. A kill script that runs in
this moment finds none, as if the program had crashed, and the sidecar comes up all
the same. For agents with stand-ins the pid file has the host's number for some
seconds, until another stand-in takes over, see sidecar-shim(1).`,
		ValidArgsFunction: t.completeIDs(math.MaxInt),
		RunE: t.calling(math.MaxInt, func(cmd *cobra.Command, s service, ids []string) error {
			all, err := o.find(cmd, s, ids)
			if err != nil {
				return err
			}
			if o.dryRun {
				results := dryRun(cmd.Context(), s, all)
				t.out.recycledAll(results)
				return errors.Join(errorsOf(results)...)
			}
			r := recycling{service: s, options: o, out: t.out, total: len(all)}
			return r.run(cmd.Context(), all)
		}),
	}
	o.addTo(t, cmd)
	flags := cmd.Flags()
	flags.BoolVar(&o.outdated, "outdated", false, "only sidecars that run another image than a new launch would")
	flags.Var(&o.before, "started-before", "only sidecars that were started before this TIME (default: the present)")
	flags.IntVar(&o.width, "max-unavailable", 1, "`NUMBER` of sidecars that are replaced at once")
	flags.DurationVar(&o.pause, "pause", 0, "pause between two batches, a `DURATION` such as 10s")
	flags.BoolVar(&o.dryRun, "dry-run", false, "only show what would be replaced, and what the policy would refuse")
	return cmd
}

// find returns the sidecars that are to be replaced.
func (o *recycleOptions) find(cmd *cobra.Command, s service, ids []string) ([]interfaces.Sidecar, error) {
	chosen := len(ids) > 0
	for _, name := range []string{"outdated", "agent", "profile", "started-before"} {
		chosen = chosen || cmd.Flags().Changed(name)
	}
	switch {
	case !chosen:
		return nil, &usageError{"which sidecars: name their IDs, or select them with --outdated, --agent, --profile or --started-before"}
	case o.width < 1:
		return nil, &usageError{"--max-unavailable must be at least 1"}
	}
	if o.before.usec == nil {
		o.before.usec = new(time.Now().UnixMicro())
	}
	all, err := s.List(cmd.Context(), interfaces.ListParameters{Agent: given(cmd, "agent", o.agent), Profile: given(cmd, "profile", o.profile)})
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if !slices.ContainsFunc(all, func(s interfaces.Sidecar) bool { return s.ID == id }) {
			return nil, &interfaces.NoSuchSidecarError{ID: &id}
		}
	}
	all = slices.DeleteFunc(all, func(s interfaces.Sidecar) bool {
		named := slices.Contains(ids, s.ID)
		return len(ids) > 0 && !named || !o.selects(&s.Runtime, named)
	})
	hosts := func(s interfaces.Sidecar) bool { return s.Context != nil && s.Context.NetworkNamespace == nil }
	if slices.ContainsFunc(all, hosts) && !inHostNetwork() {
		return nil, errors.New("sidecars in the host's own network namespace can be launched only from there: run it outside of 'ip netns exec'")
	}
	return all, nil
}

// selects reports whether a sidecar, perhaps named by its ID, is to be replaced.
func (o *recycleOptions) selects(r *interfaces.Runtime, named bool) bool {
	ended := r.State == interfaces.StateFailed || r.State == interfaces.StateRestarting
	return (r.State == interfaces.StateReady || named && ended) && r.InvocationID != nil &&
		(!o.outdated || r.ImageOutdated) &&
		(r.StartedUSec == nil || *r.StartedUSec < *o.before.usec)
}

// recycling replaces sidecars.
type recycling struct {
	service service
	options recycleOptions
	out     *printer
	total   int
	results []recycled
}

// run replaces the sidecars batch by batch, and shows each.
func (r *recycling) run(ctx context.Context, all []interfaces.Sidecar) error {
	r.out.recycleHeader()
	failed := false
	for batch := range slices.Chunk(all, r.options.width) {
		if failed = failed || ctx.Err() != nil; failed {
			for _, s := range batch {
				r.note(recycled{ID: s.ID, Result: recycleRemains})
			}
			continue
		}
		failed = r.replaceAll(ctx, batch)
		if !failed && len(r.results) < r.total {
			_ = pause(ctx, r.options.pause) // the next batch sees the end of ctx, too
		}
	}
	r.out.recycleSummary(r.results, r.options)
	if errs := errorsOf(r.results); len(errs) > 0 || ctx.Err() == nil {
		return errors.Join(errs...)
	}
	return errors.New("interrupted")
}

// replaceAll replaces a batch at once, and reports whether one of it has failed.
func (r *recycling) replaceAll(ctx context.Context, batch []interfaces.Sidecar) (failed bool) {
	done := make(chan recycled, len(batch))
	for _, s := range batch {
		go func() { done <- r.replace(ctx, s) }()
	}
	for range batch {
		one := <-done
		failed = failed || one.Result == recycleFailed
		r.note(one)
	}
	return failed
}

func (r *recycling) note(one recycled) {
	r.results = append(r.results, one)
	r.out.recycled(len(r.results), r.total, &one)
}

// replace launches a sidecar again with its own request, if it is still in the run that was
// listed: what its agent does meanwhile wins.
func (r *recycling) replace(ctx context.Context, s interfaces.Sidecar) recycled {
	one := recycled{ID: s.ID, Result: recycleReplaced}
	p, err := again(&s)
	if err != nil {
		return one.keeps(err)
	}
	ended := watchEnd(&s.Runtime)
	now, err := r.service.Launch(ctx, p)
	end := ended()
	if err == nil {
		err = r.judge(ctx, now)
	}
	switch {
	case errors.Is(err, interfaces.ErrNoSuchSidecar), errors.Is(err, interfaces.ErrLaunchStopped):
		one.Result, one.Reason = recycleSkipped, "its agent has launched or stopped it meanwhile"
	case isRefusal(err):
		return one.keeps(err)
	case err != nil:
		one.Result, one.Reason, one.err = recycleFailed, message(err), fmt.Errorf("%s: %w", s.ID, err)
	case !end.IsZero() && now.Runtime.ReadyUSec != nil:
		one.AwayUSec = new(*now.Runtime.ReadyUSec - end.UnixMicro())
	}
	return one
}

// again returns the launch that replaces a sidecar by its own request.
func again(s *interfaces.Sidecar) (interfaces.LaunchParameters, error) {
	c := s.Context
	if c == nil {
		return interfaces.LaunchParameters{}, errors.New("its unit has no readable record of its request")
	}
	return interfaces.LaunchParameters{
		Profile: c.Profile, Arguments: c.Arguments, Agent: &c.Agent, NetworkNamespace: c.NetworkNamespace, ProcessTag: c.ProcessTag,
		Mode: new(interfaces.ModeReplace), Replaces: s.Runtime.InvocationID,
	}, nil
}

// errStillOutdated is the failure of a recycle that would never end.
var errStillOutdated = errors.New("the new run has the old image: the service has not prepared the new one")

// healthLimit bounds the wait for the first word about a new run's health, and healthPoll is how
// often the service is asked for it.
const (
	healthLimit = 2 * time.Minute
	healthPoll  = 250 * time.Millisecond
)

// judge returns why the new run, which is ready, counts as a failure: it waits until a run with a
// probe is healthy. A run that its agent ends meanwhile is the agent's business.
func (r *recycling) judge(ctx context.Context, now *interfaces.Sidecar) error {
	if r.options.outdated && now.Runtime.ImageOutdated {
		return errStillOutdated
	}
	ctx, cancel := context.WithTimeout(ctx, healthLimit)
	defer cancel()
	run := *now
	for undecided(&run.Runtime) {
		if err := pause(ctx, healthPoll); err != nil {
			return fmt.Errorf("no probe has decided whether it is healthy: %w", err)
		}
		all, err := r.service.List(ctx, interfaces.ListParameters{ID: &now.ID})
		if err != nil && !errors.Is(err, interfaces.ErrNoSuchSidecar) {
			return err
		}
		if len(all) == 0 || !sameRun(&all[0], now) {
			return nil
		}
		run = all[0]
	}
	if health := run.Runtime.Health; health != nil && *health == interfaces.HealthUnhealthy {
		return fmt.Errorf("it is not healthy: %s", textOr(run.Runtime.HealthReason, "no reason is known"))
	}
	return nil
}

func undecided(r *interfaces.Runtime) bool {
	return r.Health != nil && *r.Health == interfaces.HealthUnknown
}

func sameRun(a, b *interfaces.Sidecar) bool {
	return textOr(a.Runtime.InvocationID, "") == textOr(b.Runtime.InvocationID, "")
}

func (one recycled) keeps(err error) recycled {
	one.Result, one.Reason, one.err = recycleKept, message(err), fmt.Errorf("%s runs on: %w", one.ID, err)
	return one
}

// isRefusal reports whether a launch was refused before it has touched anything, for a reason
// that concerns this sidecar.
func isRefusal(err error) bool {
	return slices.ContainsFunc([]error{
		interfaces.ErrArgumentNotAllowed, interfaces.ErrNamespaceNotAllowed, interfaces.ErrNoSuchNetworkNamespace,
		interfaces.ErrNoSuchAgent, interfaces.ErrNoSuchProfile, interfaces.ErrInvalidParameter,
	}, func(refusal error) bool { return errors.Is(err, refusal) })
}

// errorsOf returns the errors of a recycle, failures first: the first gives the exit code.
func errorsOf(results []recycled) []error {
	var failed, kept []error
	for _, one := range results {
		switch one.Result {
		case recycleFailed:
			failed = append(failed, one.err)
		case recycleKept:
			kept = append(kept, one.err)
		}
	}
	return append(failed, kept...)
}

// dryRun says what would be replaced, and what would be refused.
func dryRun(ctx context.Context, s service, all []interfaces.Sidecar) []recycled {
	results := []recycled{}
	for _, sidecar := range all {
		one := recycled{ID: sidecar.ID, Result: recycleWould}
		p, err := again(&sidecar)
		if err == nil {
			_, err = s.Explain(ctx, p)
		}
		switch {
		case isRefusal(err):
			one = one.keeps(err)
		case err != nil:
			one.Result, one.Reason, one.err = recycleFailed, message(err), fmt.Errorf("%s: %w", sidecar.ID, err)
		}
		results = append(results, one)
	}
	return results
}
