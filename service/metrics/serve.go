package metrics

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
)

const (
	// maxConnections are served at once; more wait in the kernel's queue (listen(2)).
	maxConnections = 8
	// maxHeader is how long a request may be, in bytes. net/http adds 4 KiB.
	maxHeader = 4 << 10
	// readTimeout is how long a request may take to arrive, writeTimeout how long its answer may
	// take to be read.
	readTimeout  = 5 * time.Second
	writeTimeout = 10 * time.Second
)

// Serve answers GET /metrics on the listener, one request a connection, until ctx ends, and
// closes it.
func (m *Metrics) Serve(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	server := &http.Server{
		Handler: mux, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: log.New(io.Discard, "", 0), // a scraper could fill the daemon's log
	}
	server.SetKeepAlivesEnabled(false)
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(netutil.LimitListener(l, maxConnections)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
