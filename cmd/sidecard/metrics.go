package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tripleo.io/sidecar/service/varlink"
)

// metricsMode lets root and the socket's group connect. The group is the directory's, if the
// directory has the set-group-ID bit (inode(7)), and root's otherwise: the daemon may not change
// owners.
const metricsMode fs.FileMode = 0o660

func (o options) checkMetrics() error {
	switch {
	case o.metricsSocket != "" && !filepath.IsAbs(o.metricsSocket):
		return fmt.Errorf("-metrics-socket: %q is not an absolute path", o.metricsSocket)
	case o.metricsTextfile != "" && (!filepath.IsAbs(o.metricsTextfile) || !strings.HasSuffix(o.metricsTextfile, ".prom")):
		return fmt.Errorf("-metrics-textfile: %q is not an absolute path that ends in .prom, which node_exporter reads", o.metricsTextfile)
	case o.metricsInterval < time.Second:
		return fmt.Errorf("-metrics-interval: %v is less than a second", o.metricsInterval)
	}
	return nil
}

// showMetrics serves and writes the metrics, if the options say so, until ctx ends. Without them
// the service goes on.
func (d *daemon) showMetrics(ctx context.Context) {
	if path := d.options.metricsTextfile; path != "" {
		go d.metrics.KeepFile(ctx, path, d.options.metricsInterval, d.logger)
	}
	path := d.options.metricsSocket
	if path == "" {
		return
	}
	listener, err := varlink.Bind(path, metricsMode)
	if err != nil {
		d.logger.Error("cannot serve metrics", "error", err)
		return
	}
	go func() {
		defer func() { _ = os.Remove(path) }() // the next daemon may be without metrics
		if err := d.metrics.Serve(ctx, listener); err != nil {
			d.logger.Error("metrics are not served any more", "error", err)
		}
	}()
}
