package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

var (
	// ErrWithdrawn means that the host did not claim the request in time, and that it
	// was withdrawn: nothing was done.
	ErrWithdrawn = errors.New("the host did not take the request in time, and it was withdrawn: is sidecar-spool@AGENT.path active there?")

	// ErrUnanswered means that the host claimed the request and did not answer in
	// time. Whether it is or will be carried out is not known.
	ErrUnanswered = errors.New("the host took the request and did not answer in time")

	// ErrProtocol means that the result is not a varlink reply of the method.
	ErrProtocol = errors.New("not an answer of the service")
)

// UnreachableError means that a request could not be handed in. Nothing was done.
type UnreachableError struct {
	Directory string // of the spool
	Err       error  // the kernel's, such as ENOENT or ENOSPC
}

func (e *UnreachableError) Unwrap() error { return e.Err }

func (e *UnreachableError) Error() string {
	s := fmt.Sprintf("cannot use the spool %s: %v", e.Directory, e.Err)
	if hint := e.Hint(); hint != "" {
		s += "; " + hint
	}
	return s
}

// Hint says what to do about the error, or "" if that is not known.
func (e *UnreachableError) Hint() string {
	switch {
	case errors.Is(e.Err, fs.ErrNotExist), errors.Is(e.Err, syscall.ENOTDIR):
		return "is the agent's directory below /var/lib/sidecar/spool mounted there, and sidecar-spool@AGENT.path active on the host?"
	case errors.Is(e.Err, fs.ErrPermission):
		return "its requests belong to the user that spool-user names in the agent's file on the host"
	case errors.Is(e.Err, syscall.EROFS):
		return "its directory requests must be mounted writable"
	case errors.Is(e.Err, syscall.EXDEV):
		return "requests/tmp and requests/new must be one mount"
	case errors.Is(e.Err, syscall.ENOSPC), errors.Is(e.Err, syscall.EDQUOT):
		return "the file system of the host's /var/lib/sidecar/spool is full, or the user's quota on it"
	}
	return ""
}
