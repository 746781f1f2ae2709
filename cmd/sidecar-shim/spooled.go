package main

import (
	"context"
	"os"
	"path/filepath"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/spool"
)

// spooled is the service behind a spool. There is no connection that it could tell
// the caller's network namespace by: the request names it, and the host's policy
// decides as about every claim.
type spooled struct{ *spool.Client }

func (s spooled) Launch(ctx context.Context, p interfaces.LaunchParameters) (*interfaces.LaunchReply, error) {
	name, err := namespaceName(namespaces, ownNamespace, firstNamespace)
	if err != nil {
		return nil, err
	}
	p.NetworkNamespace = name
	return s.LaunchReply(ctx, p)
}

// isSpool reports whether the directory is a spool. Whether this user may write to it
// is told when it is tried.
func isSpool(directory string) bool {
	info, err := os.Stat(filepath.Join(directory, spool.Requests))
	return err == nil && info.IsDir()
}
