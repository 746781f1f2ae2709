package drain

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
	moved                  // it is done with
	stuck                  // it can be neither claimed nor moved
	calling                // moved, and a call is under way that holds the slot
)

// pass is what one look at a directory has found.
type pass struct {
	moved, stuck int
	took         time.Duration
}

// sweep goes once through a directory, for each name with a slot for a call.
func (d *drain) sweep(ctx context.Context, dir *os.File, take func(file string) verdict) (pass, error) {
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
			if !d.acquire(ctx) {
				return p, nil
			}
			v := take(name)
			if v != calling {
				<-d.slots
			}
			p.count(v)
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
func (d *drain) acquire(ctx context.Context) bool {
	select {
	case d.slots <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	if ctx.Err() != nil { // both were the case
		<-d.slots
		return false
	}
	return true
}

func (p *pass) count(v verdict) {
	switch v {
	case moved, calling:
		p.moved++
	case stuck:
		p.stuck++
	case gone:
	}
}

// take claims an entry of requests/new.
func (d *drain) take(ctx context.Context, file string) verdict {
	name, ok := spool.ParseFile(file)
	if !ok {
		return d.refuse(d.tree.fresh, file, errors.New("the name is not that of a request: 32 hexadecimal digits and .json"))
	}
	if exists(d.tree.results, file) {
		return d.refuse(d.tree.fresh, file, errors.New("a request of this name has been answered already"))
	}
	err := move(d.tree.fresh, file, d.tree.claimed, file)
	switch {
	case errors.Is(err, unix.ENOENT):
		return gone
	case errors.Is(err, unix.EEXIST):
		return d.refuse(d.tree.fresh, file, errors.New("a request of this name is being carried out"))
	case err != nil:
		return d.cannotMove(file, err)
	}
	return d.proceed(ctx, name, false)
}

// takeUp goes on with an entry of claimed that another drain has left.
func (d *drain) takeUp(ctx context.Context, file string) verdict {
	name, ok := spool.ParseFile(file)
	if !ok {
		return d.refuse(d.tree.claimed, file, errors.New("not a request's name, and yet in claimed"))
	}
	if exists(d.tree.results, file) && remove(d.tree.claimed, file) == nil {
		return moved // its result was all that there was to do
	}
	return d.proceed(ctx, name, true)
}

// proceed reads a claimed request and begins to carry it out.
func (d *drain) proceed(ctx context.Context, name string, again bool) verdict {
	file := spool.File(name)
	r, err := d.read(name)
	if err == nil {
		r.again = again
		err = d.checkAge(r)
	}
	var unfit *unfitError
	switch {
	case errors.Is(err, unix.ENOENT):
		return gone
	case errors.As(err, &unfit):
		d.answer(name, failure(unfit.detail))
		return d.refuse(d.tree.claimed, file, unfit.detail)
	case err != nil:
		d.answer(name, failure(err))
		return d.dismiss(file)
	}
	d.calls.Go(func() {
		defer d.release()
		d.carryOut(ctx, r)
	})
	return calling
}

// release gives a call's slot back.
func (d *drain) release() {
	<-d.slots
	select {
	case d.ended <- struct{}{}:
	default:
	}
}

// dismiss removes a claimed request that is done with.
func (d *drain) dismiss(file string) verdict {
	if err := remove(d.tree.claimed, file); err != nil && !errors.Is(err, unix.ENOENT) {
		return d.refuse(d.tree.claimed, file, fmt.Errorf("it is done with, and cannot be removed: %w", err))
	}
	return moved
}

// checkAge refuses a request for which nobody waits any more.
func (d *drain) checkAge(r *request) error {
	age := d.now().Sub(r.modified)
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
