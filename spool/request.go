package spool

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/gofrs/flock"
)

// request is one request that waits for its result.
type request struct {
	directory string
	file      string
}

func newRequest(directory string) request {
	if directory == "" {
		directory = DefaultDirectory
	}
	var name [16]byte
	_, _ = rand.Read(name[:]) // never fails
	return request{directory: directory, file: File(hex.EncodeToString(name[:]))}
}

func (r request) path(directory string) string {
	return filepath.Join(r.directory, directory, r.file)
}

// submit hands the request in. After an error nothing of it is left, and nobody has
// claimed it.
func (r request) submit(text []byte) error {
	lock, err := r.write(text)
	if lock != nil {
		// Until the request is handed in: a file that is not locked counts as left over.
		defer lock.Close()
	}
	if err == nil {
		err = os.Rename(r.path(Temporary), r.path(New))
	}
	if err != nil {
		_ = os.Remove(r.path(Temporary))
		return err
	}
	if err := syncDirectory(filepath.Join(r.directory, New)); err != nil && os.Remove(r.path(New)) == nil {
		return err
	}
	return nil
}

// write makes the temporary file and locks it. The lock may be nil.
func (r request) write(text []byte) (*flock.Flock, error) {
	f, err := os.OpenFile(r.path(Temporary), os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lock := flock.New(f.Name(), flock.SetFlag(os.O_RDONLY|syscall.O_NOFOLLOW))
	if locked, err := lock.TryLock(); err != nil || !locked {
		return nil, errors.Join(fmt.Errorf("lock %s", f.Name()), err)
	}
	if _, err := f.Write(text); err != nil {
		return lock, err
	}
	return lock, f.Sync()
}

// syncDirectory makes a rename in a directory last (fsync(2)).
func syncDirectory(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// withdraw takes the request back. If it was claimed meanwhile, its result may exist
// by now.
func (r request) withdraw(ctx context.Context) ([]byte, error) {
	err := os.Remove(r.path(New))
	if err == nil {
		return nil, fmt.Errorf("%w: %w", ErrWithdrawn, context.Cause(ctx))
	}
	if result, err := r.result(); !errors.Is(err, fs.ErrNotExist) {
		return result, err
	}
	return nil, fmt.Errorf("%w: %w", ErrUnanswered, context.Cause(ctx))
}

// result reads the result. The error is fs.ErrNotExist as long as it does not exist.
func (r request) result() ([]byte, error) {
	f, err := os.OpenFile(r.path(Results), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxResult+1))
	if len(text) > MaxResult {
		return nil, fmt.Errorf("%w: a result of more than %d bytes", ErrProtocol, MaxResult)
	}
	return text, err
}

// unreachable is the error of a request that could not be handed in. It leaves the
// path out, because the caller does not know it.
func (r request) unreachable(err error) error {
	var number syscall.Errno
	if errors.As(err, &number) {
		err = number
	}
	return &UnreachableError{Directory: r.directory, Err: err}
}
