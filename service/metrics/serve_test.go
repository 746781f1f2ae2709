package metrics

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// served returns the path of a socket on which metrics are served until the test ends.
func served(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	m := full(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := m.Serve(ctx, l); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return path
}

// TestMetricsServe: one path is answered, and nothing else.
func TestMetricsServe(t *testing.T) {
	t.Parallel()
	path := served(t)
	for request, want := range map[string]string{
		"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n":                                       "HTTP/1.1 200 OK",
		"GET /metrics HTTP/1.0\r\n\r\n":                                                  "HTTP/1.0 200 OK",
		"POST /metrics HTTP/1.1\r\nHost: x\r\n\r\n":                                      "HTTP/1.1 405 Method Not Allowed",
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n":                                              "HTTP/1.1 404 Not Found",
		"GET /debug/vars HTTP/1.1\r\nHost: x\r\n\r\n":                                    "HTTP/1.1 404 Not Found",
		"\x16\x03\x01\r\n\r\n":                                                           "HTTP/1.1 400 Bad Request",
		"GET /metrics HTTP/1.1\r\nHost: x\r\n":                                           "HTTP/1.1 400 Bad Request",
		"GET /metrics HTTP/1.1\r\nX: " + strings.Repeat("x", maxHeader+(4<<10)) + "\r\n": "HTTP/1.1 431 Request Header Fields Too Large",
	} {
		c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Write([]byte(request))
		if err == nil {
			err = c.CloseWrite()
		}
		answer, readErr := io.ReadAll(c)
		if strings.HasPrefix(want, "HTTP/1.1 4") { // the rest of the request was not read, and the connection reset
			err, readErr = nil, nil
		}
		if !strings.HasPrefix(string(answer), want+"\r\n") || err != nil || readErr != nil {
			t.Errorf("%.40q: %.60q, %v, %v", request, answer, err, readErr)
		}
		if strings.Contains(string(answer), "sidecar_") != strings.HasSuffix(want, "200 OK") {
			t.Errorf("%.40q: %q", request, answer)
		}
		c.Close()
	}
}

// pipes is a listener in memory, whose connections work in a bubble of synctest.
type pipes struct {
	connections chan net.Conn
	closed      chan struct{}
	once        sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.connections:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "unix"} }

// dial returns a connection, which is closed when the test ends, and a channel that is closed
// when the server has accepted it.
func (p *pipes) dial(t *testing.T) (c net.Conn, accepted chan struct{}) {
	t.Helper()
	c, other := net.Pipe()
	t.Cleanup(func() { c.Close() })
	accepted = make(chan struct{})
	go func() {
		select {
		case p.connections <- other:
			close(accepted)
		case <-p.closed:
		}
	}()
	return c, accepted
}

// serveInMemory serves until the test ends. It must be called in a bubble.
func serveInMemory(t *testing.T) *pipes {
	t.Helper()
	p := &pipes{connections: make(chan net.Conn), closed: make(chan struct{})}
	m := full(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- m.Serve(ctx, p) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return p
}

const scrapeRequest = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// TestMetricsServeMany: connections that say nothing take all places, and the next one is served
// when one of them ends.
func TestMetricsServeMany(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := serveInMemory(t)
		var idle []net.Conn
		for range maxConnections {
			c, accepted := p.dial(t)
			<-accepted
			idle = append(idle, c)
		}
		next, accepted := p.dial(t)
		synctest.Wait()
		if isClosed(accepted) {
			t.Fatalf("more than %d connections", maxConnections)
		}
		idle[3].Close()
		<-accepted
		if _, err := next.Write([]byte(scrapeRequest)); err != nil {
			t.Fatal(err)
		}
		if answer, err := io.ReadAll(next); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200 OK") {
			t.Errorf("%q, %v", answer, err)
		}
	})
}

// TestMetricsServeSlow: a connection ends in time if its request does not arrive, or its answer
// is not read.
func TestMetricsServeSlow(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		request string
		until   func(net.Conn)
		after   time.Duration
	}{
		"says nothing":  {"", untilEOF, readTimeout},
		"half":          {scrapeRequest[:20], untilEOF, readTimeout},
		"does not read": {scrapeRequest, untilWritesFail, writeTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, accepted := serveInMemory(t).dial(t)
				<-accepted
				if _, err := c.Write([]byte(test.request)); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				test.until(c)
				if took := time.Since(began); took < test.after-time.Second || took > test.after+time.Second { // of the bubble
					t.Errorf("it was closed after %v, want %v", took, test.after)
				}
			})
		})
	}
}

func untilEOF(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

func untilWritesFail(c net.Conn) {
	for err := error(nil); err == nil; _, err = c.Write([]byte("x")) {
	}
}
