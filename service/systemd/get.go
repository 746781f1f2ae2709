package systemd

import (
	"context"
	"fmt"
	"time"

	"github.com/godbus/dbus/v5"
)

// Get reads a unit from systemd. It returns ErrNoSuchUnit for one that systemd
// does not know or that is inactive without a job.
//
// It asks for the name first: to read a unit that is not there systemd would load it,
// announce it going, and answer some 400 properties of nothing.
func (c *Conn) Get(ctx context.Context, name string) (Unit, error) {
	if _, err := c.retry(ctx, managerPath, managerMethod+"GetUnit", name); err != nil {
		return Unit{}, fmt.Errorf("%s: %w", name, err)
	}
	u, err := c.read(ctx, name)
	if err == nil && u.gone() {
		return Unit{}, fmt.Errorf("%s: %w", name, ErrNoSuchUnit)
	}
	return u, err
}

// read returns what systemd says of a unit, known to it or not. With an empty
// interface GetAll answers the properties of all interfaces, of one moment.
func (c *Conn) read(ctx context.Context, name string) (Unit, error) {
	path := unitPath(name)
	r := c.cache.begin(path)
	body, err := c.retry(ctx, path, "org.freedesktop.DBus.Properties.GetAll", "")
	if err != nil {
		return Unit{}, err
	}
	var properties map[string]dbus.Variant
	if err := dbus.Store(body, &properties); err != nil {
		return Unit{}, fmt.Errorf("read unit %s: %w", name, err)
	}
	u := unitOf(name, properties)
	c.cache.store(r, u, time.Now())
	return u, nil
}

// ResetFailed makes systemd forget a failed unit. One that has not failed stays as
// it is.
func (c *Conn) ResetFailed(ctx context.Context, name string) error {
	_, err := c.retry(ctx, managerPath, managerMethod+"ResetFailedUnit", name)
	c.cache.touch(unitPath(name))
	return err
}
