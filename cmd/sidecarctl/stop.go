package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"tripleo.io/sidecar/interfaces"
)

// ended is one sidecar that was stopped: its ID and the interface's reply.
type ended struct {
	ID string `json:"id"`
	interfaces.StopReply
}

func newStop(t *tool) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:               "stop ID…",
		Short:             "Stop sidecars, and remove the records of failed ones",
		Long:              "Stop the sidecars one after the other. If one cannot be stopped, the others are, and the exit code is that of the first failure.",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: t.everyID,
		RunE: func(cmd *cobra.Command, args []string) error {
			usec, err := timeoutUSec(cmd, timeout)
			if err != nil {
				return err
			}
			ids, err := sidecarIDs(args)
			if err != nil {
				return err
			}
			c, err := t.service()
			if err != nil {
				return err
			}
			stopped, err := stopAll(cmd.Context(), c, ids, usec)
			t.out.stopped(stopped)
			return err
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "how long a process may take to end before it is killed, such as 5s (default: the unit's limit)")
	return cmd
}

// sidecarIDs takes all IDs before the first is used: a typing error stops nothing.
func sidecarIDs(args []string) ([]string, error) {
	ids := make([]string, len(args))
	for i, arg := range args {
		id, err := sidecarID(arg)
		if err != nil {
			return nil, err
		}
		ids[i] = id
	}
	return ids, nil
}

func stopAll(ctx context.Context, s stopper, ids []string, timeoutUSec *int64) ([]ended, error) {
	stopped := []ended{}
	var errs []error
	for _, id := range ids {
		reply, err := s.Stop(ctx, interfaces.StopParameters{ID: id, TimeoutUSec: timeoutUSec})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		stopped = append(stopped, ended{id, *reply})
	}
	return stopped, errors.Join(errs...)
}
