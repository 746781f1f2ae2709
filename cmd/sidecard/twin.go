package main

import (
	"context"
	"time"

	"tripleo.io/sidecar/dbusserver"
)

// twinTimeout is how long the daemon waits for its place on the bus before it says
// that it is ready. Callers on the bus wait anyway until it is there; agents must
// not.
const twinTimeout = 5 * time.Second

// startTwin serves the core on the bus until ctx ends. The channel has an element
// when that is over; the error says that the daemon must end.
func (d *daemon) startTwin(ctx context.Context) <-chan error {
	twin := dbusserver.New(dbusserver.Config{
		Core:      d.core,
		Subscribe: func() dbusserver.Events { return d.core.Events() },
		Logger:    d.logger,
		Version:   version,
	})
	ended := make(chan error, 1)
	go func() { ended <- twin.Run(ctx) }()
	select {
	case <-twin.Ready():
	case <-ctx.Done():
	case <-time.After(twinTimeout):
	}
	return ended
}
