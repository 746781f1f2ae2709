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
	var group errgroup.Group
	group.SetLimit(prepareWidth)
	var templates []string
	set := c.policy.Load()
	for _, agent := range set.Agents() {
		for _, profile := range set.Granted(agent.Name) {
			for _, d := range c.preparationsOf(agent, profile) {
				templates = append(templates, d.Template)
				group.Go(func() error {
					if _, err := c.prepareImage(ctx, d); err != nil && ctx.Err() == nil {
						c.Logger.Error("an image could not be prepared; the next launch tries again", "agent", agent.Name, "profile", profile.Name, "error", err)
					}
					return nil
				})
			}
		}
	}
	_ = group.Wait() // the errors are logged
	others, err := c.Keep(templates)
	if err != nil {
		c.Logger.Warn("unused images stay mounted", "error", err)
	}
	if others {
		c.askForSweep()
	}
}

// preparationsOf returns the preparations of a profile's launches for an agent: in named network
// namespaces and in the host's, as far as the agent may.
func (c *Core) preparationsOf(agent *policy.Agent, profile *policy.Profile) []*document.Document {
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
			c.Logger.Warn("an image is not prepared", "agent", agent.Name, "profile", profile.Name, "error", err)
		} else if a.preparation != nil {
			all = append(all, a.preparation)
		}
	}
	return all
}

// prepareImage waits until an image is prepared, and has it prepared if it was not since the
// policy was read. It returns the preparation whose error it is.
func (c *Core) prepareImage(ctx context.Context, d *document.Document) (*imagePreparation, error) {
	p, first := c.images.begin(d.Template)
	if first {
		go c.runPreparation(context.WithoutCancel(ctx), d, p)
	}
	select {
	case <-p.done:
		return p, p.err
	case <-ctx.Done():
		return p, ctx.Err()
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
		return fmt.Errorf("%s: %s", name, reason)
	}
	return fmt.Errorf("%s: %w", name, err)
}

// preparationProperties are those of a unit that prepares an image. It delegates its control
// group to podman, and its clean-up removes podman's container.
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
