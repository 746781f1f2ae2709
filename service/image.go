package service

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/launcher"
	"tripleo.io/sidecar/service/policy"
	"tripleo.io/sidecar/service/systemd"
)

const (
	// prepareTimeout bounds the preparation of an image. podman takes half a second.
	prepareTimeout = 2 * time.Minute
	// prepareWait is how long a launch waits for a preparation.
	prepareWait = 10 * time.Second
	// prepareWidth is how many images are prepared at once ahead of launches.
	prepareWidth = 2
)

// images are the preparations of images, by their templates.
type images struct {
	pass     sync.Mutex // held while all images are prepared
	mu       sync.Mutex
	prepared map[string]*imagePreparation
}

// imagePreparation is the run of one preparation.
type imagePreparation struct {
	before <-chan struct{} // closed when the run before it has ended
	done   chan struct{}   // closed at its end
	err    error           // read-only then
	stale  bool            // the next launch needs another one; guarded by images.mu
}

// begin returns the preparation of a template, and whether the caller must run it.
func (i *images) begin(template string) (p *imagePreparation, first bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	old, ok := i.prepared[template]
	if ok && !old.stale {
		return old, false
	}
	p = &imagePreparation{done: make(chan struct{})}
	if ok {
		p.before = old.done
	}
	if i.prepared == nil {
		i.prepared = map[string]*imagePreparation{}
	}
	i.prepared[template] = p
	return p, true
}

// forget has the next launch prepare the image again.
func (i *images) forget(p *imagePreparation) {
	i.mu.Lock()
	defer i.mu.Unlock()
	p.stale = true
}

// isStale reports whether the next launch needs another run.
func (i *images) isStale(p *imagePreparation) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return p.stale
}

// forgetAll has every image prepared again.
func (i *images) forgetAll() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, p := range i.prepared {
		p.stale = true
	}
}

// PrepareImages prepares the images of all profiles whose engine needs that, for every agent
// that they are granted to, and then has those unmounted that nobody needs any more, until ctx
// ends. A launch waits for its own image only.
func (c *Core) PrepareImages(ctx context.Context) {
	c.images.pass.Lock()
	defer c.images.pass.Unlock()
	documents, whole := c.preparations()
	var templates []string
	for _, d := range documents {
		templates = append(templates, d.Template)
	}
	// Nothing may remove a template between its preparation and the end of this pass.
	if _, err := c.Keep(templates, true); err != nil {
		c.Logger.Warn("the templates of images cannot be listed", "error", err)
		whole = false
	}
	var group errgroup.Group
	group.SetLimit(prepareWidth)
	for _, d := range documents {
		group.Go(func() error {
			if _, err := c.prepare(ctx, d); err != nil && ctx.Err() == nil {
				c.Logger.Error("an image could not be prepared; the next launch tries again", "agent", d.Context.Agent, "profile", d.Context.Profile, "error", err)
			}
			return nil
		})
	}
	_ = group.Wait() // the errors are logged
	if !whole {
		return
	}
	others, err := c.Keep(templates, false)
	if err != nil {
		c.Logger.Warn("unused images stay mounted", "error", err)
	}
	if others {
		c.askForSweep()
	}
}

// preparations returns what the policy needs, and whether that is all of it.
func (c *Core) preparations() (all []*document.Document, whole bool) {
	whole = true
	set := c.policy.Load()
	for _, agent := range set.Agents() {
		for _, profile := range set.Granted(agent.Name) {
			documents, err := c.preparationsOf(agent, profile)
			if err != nil {
				c.Logger.Warn("an image is not prepared", "agent", agent.Name, "profile", profile.Name, "error", err)
				whole = false
			}
			all = append(all, documents...)
		}
	}
	return all, whole
}

// preparationsOf returns the preparations of a profile's launches for an agent: in named network
// namespaces and in the host's, as far as the agent may.
func (c *Core) preparationsOf(agent *policy.Agent, profile *policy.Profile) ([]*document.Document, error) {
	var networks []*string
	if len(agent.NetworkNamespaces) > 0 {
		networks = append(networks, new("any"))
	}
	if agent.HostNetwork {
		networks = append(networks, nil)
	}
	var all []*document.Document
	for _, network := range networks {
		a := &attempt{
			id:       interfaces.NewID(agent.Name, profile.Name, ""),
			decision: &policy.Decision{Agent: agent, Profile: profile, User: agent.UserOf(profile)},
			context:  interfaces.Context{Agent: agent.Name, Profile: profile.Name, NetworkNamespace: network},
		}
		var err error
		if a.runtime, err = c.chooseRuntime(profile); err == nil {
			err = c.makeDocument(a)
		}
		if err != nil {
			return nil, err
		}
		if a.preparation != nil {
			all = append(all, a.preparation)
		}
	}
	return all, nil
}

// prepareImage waits until the launch's image is prepared, but not long: a template of an earlier
// preparation will do, which sidecar-launch finds out. Its error is ctx's.
func (c *Core) prepareImage(ctx context.Context, a *attempt) error {
	if a.preparation == nil {
		return nil
	}
	patience := c.prepareWait
	// After a boot everything is prepared at once. A recycle replaces for the new image only.
	if a.call.restores || a.replaces != nil {
		patience = prepareTimeout
	}
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, a.unprepared = c.prepare(waiting, a.preparation); a.unprepared != nil && ctx.Err() == nil {
		c.Logger.Warn("an image could not be prepared", "sidecar", a.id.String(), "error", a.unprepared)
	}
	return ctx.Err()
}

// prepareAgain prepares the image of a launch that has found no template, or no image. The error
// says why that fails.
func (c *Core) prepareAgain(ctx context.Context, a *attempt) error {
	if a.unprepared != nil {
		return a.unprepared
	}
	waiting, cancel := context.WithTimeout(ctx, c.prepareWait)
	defer cancel()
	p, err := c.prepare(waiting, a.preparation)
	if err == nil { // somebody has removed since what it has prepared
		c.images.forget(p)
		_, err = c.prepare(waiting, a.preparation)
	}
	return err
}

// prepare waits until an image is prepared, and has it prepared if it was not since the policy
// was read. It returns the run that it has waited for.
func (c *Core) prepare(ctx context.Context, d *document.Document) (*imagePreparation, error) {
	p, first := c.images.begin(d.Template)
	if first {
		go c.runPreparation(context.WithoutCancel(ctx), d, p)
	}
	select {
	case <-p.done:
		return p, p.err
	case <-ctx.Done():
		return p, fmt.Errorf("its preparation takes long: %w", ctx.Err())
	}
}

// runPreparation runs the unit of a preparation. One that fails is run again when a launch needs it.
func (c *Core) runPreparation(ctx context.Context, d *document.Document, p *imagePreparation) {
	defer close(p.done)
	defer func() {
		if p.err != nil {
			c.images.forget(p)
		}
	}()
	defer c.caught("the preparation of an image", &p.err)
	if p.before != nil {
		<-p.before
	}
	if c.images.isStale(p) { // a reload came meanwhile, and the next run is in line
		p.err = errors.New("the policy was read again")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, prepareTimeout+stopTimeout+grace)
	defer cancel()
	p.err = c.startPreparation(ctx, d)
}

func (c *Core) startPreparation(ctx context.Context, d *document.Document) error {
	properties, err := c.preparationProperties(d)
	if err != nil {
		return err
	}
	name := document.PreparationName(d.ID) + ".service"
	unit, err := c.Units.Start(ctx, name, properties)
	if errors.Is(err, systemd.ErrUnitExists) { // an earlier one has failed, or another daemon's runs
		if _, err := c.Units.Stop(ctx, name, 0); err != nil && !errors.Is(err, systemd.ErrNoSuchUnit) {
			return hostFailure(ctx, "stop "+name, err)
		}
		unit, err = c.Units.Start(ctx, name, properties)
	}
	if err == nil {
		return nil
	}
	if _, reason := launcher.ParseFailure(unit.StatusText); reason != "" {
		err = errors.New(reason)
	}
	if _, stopErr := c.Units.Stop(ctx, name, 0); stopErr != nil { // another policy has another name
		c.Logger.Warn("a unit that failed stays", "unit", name, "error", stopErr)
	}
	return fmt.Errorf("%s: %w", name, err)
}

// preparationProperties are the properties of a unit that prepares an image. Its control group
// is podman's to divide, and its clean-up removes podman's container.
func (c *Core) preparationProperties(d *document.Document) ([]systemd.Property, error) {
	environment, err := d.Encode()
	if err != nil {
		return nil, err
	}
	return []systemd.Property{
		systemd.String("Description", fmt.Sprintf("Image of %s for %s: %s", d.Context.Profile, d.Context.Agent, printable(d.Image))),
		systemd.String("Slice", "sidecar.slice"),
		systemd.Strings("Environment", environment...),
		systemd.String("SyslogIdentifier", "sidecar-prepare"),
		systemd.String("Type", "oneshot"),
		systemd.String("NotifyAccess", "all"),
		systemd.Bool("Delegate", true),
		systemd.ExecStart(c.Launcher, "prepare"),
		systemd.ExecStopPost([]string{c.Launcher, "clean"}),
		systemd.Duration("TimeoutStartUSec", prepareTimeout),
		systemd.Duration("TimeoutStopUSec", stopTimeout),
	}, nil
}
