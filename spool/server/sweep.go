package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/spool"
)

// namesAtOnce is how many names of a directory are in memory at a time.
const namesAtOnce = 512

// verdict is what became of an entry.
type verdict int

const (
	gone    verdict = iota // somebody else has taken it away
	moved                  // nothing is left to do for it
	stuck                  // it can be neither claimed nor moved
	calling                // moved, and a call is under way that holds the slot
)

// pass is the result of one look at a directory.
type pass struct {
	moved, stuck int
	took         time.Duration
}

// sweep goes once through a directory, and calls take for each name, with a slot for
// a call.
func (s *server) sweep(ctx context.Context, dir *os.File, take func(file string) verdict) (pass, error) {
	var p pass
	began := time.Now()
	list, err := openDirectory(dir, ".")
	if err != nil {
		return p, err
	}
	defer list.Close()
	for {
		names, err := list.Readdirnames(namesAtOnce)
		for _, name := range names {
			if !s.acquire(ctx) {
				return p, nil
			}
			v := take(name)
			if v != calling {
				<-s.slots
			}
			switch v {
			case moved, calling:
				p.moved++
			case stuck:
				p.stuck++
			case gone:
			}
		}
		p.took = time.Since(began)
		if errors.Is(err, io.EOF) {
			return p, nil
		}
		if err != nil {
			return p, fmt.Errorf("read %s: %w", dir.Name(), err)
		}
	}
}

// acquire waits for a slot for a call. It returns false at the end of ctx.
func (s *server) acquire(ctx context.Context) bool {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	if ctx.Err() != nil { // both were the case
		<-s.slots
		return false
	}
	return true
}

// claim claims an entry of requests/new.
func (s *server) claim(ctx context.Context, file string) verdict {
	name, ok := spool.ParseFile(file)
	if !ok {
		return s.refuse(s.tree.new, file, errors.New("the name is not a request's: 32 hexadecimal digits and .json"))
	}
	if exists(s.tree.results, file) {
		return s.refuse(s.tree.new, file, errors.New("a request of this name has been answered already"))
	}
	err := move(s.tree.new, file, s.tree.claimed, file)
	switch {
	case errors.Is(err, unix.ENOENT):
		return gone
	case errors.Is(err, unix.EEXIST):
		return s.refuse(s.tree.new, file, errors.New("a request of this name is being carried out"))
	case err != nil:
		return s.cannotMove(file, err)
	}
	return s.begin(ctx, name, false)
}

// resume goes on with an entry of claimed that an earlier server has left.
func (s *server) resume(ctx context.Context, file string) verdict {
	name, ok := spool.ParseFile(file)
	if !ok {
		return s.refuse(s.tree.claimed, file, errors.New("the name in claimed is not a request's"))
	}
	if exists(s.tree.results, file) && remove(s.tree.claimed, file) == nil {
		return moved // its result is complete
	}
	return s.begin(ctx, name, true)
}

// begin reads a claimed request and begins to carry it out.
func (s *server) begin(ctx context.Context, name string, again bool) verdict {
	file := spool.File(name)
	r, err := s.read(name)
	if err == nil {
		r.again = again
		err = s.checkAge(r)
	}
	var unfit *unfitError
	switch {
	case errors.Is(err, unix.ENOENT):
		return gone
	case errors.As(err, &unfit):
		s.answer(name, failure(unfit.detail))
		return s.refuse(s.tree.claimed, file, unfit.detail)
	case err != nil:
		s.answer(name, failure(err))
		return s.removeClaimed(file)
	}
	s.calls.Go(func() {
		defer s.release()
		s.carryOut(ctx, r)
	})
	return calling
}

// release gives a call's slot back.
func (s *server) release() {
	<-s.slots
	select {
	case s.ended <- struct{}{}:
	default:
	}
}

// removeClaimed removes a claimed request that was answered.
func (s *server) removeClaimed(file string) verdict {
	if err := ignoreMissing(remove(s.tree.claimed, file)); err != nil {
		return s.refuse(s.tree.claimed, file, fmt.Errorf("it was answered, and cannot be removed: %w", err))
	}
	return moved
}

// checkAge refuses a request for which nobody waits any more.
func (s *server) checkAge(r *request) error {
	age := s.now().Sub(r.modified)
	switch {
	case age <= spool.MaxAge && age >= -spool.MaxAge:
		return nil
	case r.again:
		return &interfaces.HostFailureError{Reason: "the host's side of the spool was killed, and it is not known whether the request was carried out"}
	case age < 0:
		return &interfaces.OverloadedError{Reason: "the request's time lies ahead: was the host's clock set back? It was not carried out"}
	}
	return &interfaces.OverloadedError{Reason: fmt.Sprintf("the request was %v old when its turn came, and was not carried out", age.Round(time.Second))}
}
