package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/retry"
	"tripleo.io/sidecar/spool"
)

const (
	// callTimeout is the last bound on one call. A launch may take ten minutes
	// (io.tripleo.Sidecar), and the service's own deadlines come before this.
	callTimeout = 15 * time.Minute
	// connectPause is the time between two tries to reach the service.
	connectPause = 100 * time.Millisecond
)

// carryOut makes the call of a request and leaves its result. When ctx ends before
// that, the request stays claimed.
func (s *server) carryOut(ctx context.Context, r *request) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for {
		reply, err := s.call(ctx, r)
		var unreachable *client.UnreachableError
		interrupted := errors.Is(err, client.ErrInterrupted)
		switch {
		case err != nil && errors.Is(ctx.Err(), context.Canceled):
			return
		case !interrupted && !errors.As(err, &unreachable):
			s.finishRequest(r, reply, err)
			return
		case s.now().Sub(r.modified) > spool.MaxAge:
			s.finishRequest(r, nil, err)
			return
		}
		r.again = r.again || interrupted
		_ = retry.Pause(ctx, connectPause)
	}
}

func (s *server) finishRequest(r *request, reply any, err error) {
	if err != nil {
		s.answer(r.name, failure(err))
	} else {
		s.answer(r.name, success(reply))
	}
	s.removeClaimed(spool.File(r.name))
}

// call makes the call of a request.
func (s *server) call(ctx context.Context, r *request) (reply any, err error) {
	switch p := r.parameters.(type) {
	case *interfaces.LaunchParameters:
		if r.again {
			return client.LaunchAgain(ctx, s.Service, *p, r.claimed)
		}
		return s.Service.LaunchReply(ctx, *p)
	case *interfaces.ListParameters:
		sidecars, err := s.Service.List(ctx, *p)
		return spool.ListReply{Sidecars: append([]interfaces.Sidecar{}, sidecars...)}, err // [], not null
	case *interfaces.StopParameters:
		return s.Service.Stop(ctx, *p)
	case *interfaces.SignalParameters:
		return interfaces.SignalReply{}, s.Service.Signal(ctx, *p)
	}
	return nil, fmt.Errorf("no call for %T", r.parameters) // parse makes no others
}

// success is the result of a call that was answered.
func success(reply any) spool.Reply {
	text, err := json.Marshal(reply)
	if err != nil {
		return failure(err)
	}
	if len(text) > spool.MaxResult/2 { // room for the rest of the result
		return failure(&interfaces.OverloadedError{Reason: fmt.Sprintf("the answer has %d bytes, which is more than a spool takes: ask for less", len(text))})
	}
	return spool.Reply{Parameters: text}
}

// failure is the result of a call that failed. An error that is not of the interface
// is a failure of the host: the caller can do nothing about it.
func failure(err error) spool.Reply {
	row, parameters, known := interfaces.ToWire(err)
	if !known {
		row, parameters, _ = interfaces.ToWire(&interfaces.HostFailureError{Reason: err.Error()})
	}
	result := spool.Reply{Error: row.Varlink}
	if parameters != nil {
		result.Parameters, _ = json.Marshal(parameters) // strings and numbers
	}
	return result
}

const (
	resultAge   = 2 * time.Minute // how long a result is kept
	resultCount = 1024            // how many results are kept, the newest
	resultBytes = 64 << 20        // the size of all that are kept
	resultMode  = 0o644
)

// results counts the results since the last collection.
type results struct {
	mu           sync.Mutex
	count, bytes int
}

// due counts one more result, and reports whether it is time to collect.
func (r *results) due(size int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
	r.bytes += size
	if r.count < resultCount/4 && r.bytes < resultBytes/4 {
		return false
	}
	r.count, r.bytes = 0, 0
	return true
}

// answer leaves the result of a request. It is not synced: after a power loss nobody
// waits for it.
func (s *server) answer(name string, reply spool.Reply) {
	text, err := json.Marshal(reply)
	if err == nil {
		err = s.writeResult(name, text)
	}
	if err != nil {
		s.log("a result cannot be written; its caller gets no answer", "request", name, "error", err)
	}
	if s.results.due(len(text)) {
		s.tidyResults()
	}
}

// writeResult writes a temporary file and renames it: a result that exists is
// complete.
func (s *server) writeResult(name string, text []byte) error {
	temporary := "." + name + ".tmp"
	_ = remove(s.tree.results, temporary) // of a server that was killed
	err := writeNew(s.tree.results, temporary, text, resultMode)
	if err == nil {
		dir := int(s.tree.results.Fd())
		err = unix.Renameat(dir, temporary, dir, spool.File(name))
	}
	if err != nil {
		_ = remove(s.tree.results, temporary)
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
