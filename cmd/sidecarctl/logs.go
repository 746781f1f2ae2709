package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
)

func newLogs(t *tool) *cobra.Command {
	var o selectors
	var follow bool
	var lines int64
	from := instant{now: t.out.now}
	cmd := &cobra.Command{
		Use:   "logs [ID]",
		Short: "Show what sidecars have logged",
		Long: `Show the newest log entries of one sidecar, or of all that the options match: what
the program wrote to its output or with syslog(3), and what systemd says about the
unit (with systemd 252 only for one ID). Sidecars that have ended are shown, too.

Entries look as in journalctl(1), with the sidecar's ID if no ID is given. Control
characters are shown as escapes. If the journal does not answer, the entries that
could be read are shown before the error.

TIME is how long ago, such as 10m, or a time in the local zone, such as 14:05,
2006-01-02, "2006-01-02 14:05:06", or @ and the seconds since 1970.

With -o json the result is an array of the interface's type LogEntry; with -f each
line is one object.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: t.completeIDs(1),
		RunE: t.calling(1, func(cmd *cobra.Command, s service, args []string) error {
			p := interfaces.ReadLogParameters{
				Agent: given(cmd, "agent", o.agent), Profile: given(cmd, "profile", o.profile),
				Lines: given(cmd, "lines", lines), SinceUSec: from.usec, Follow: given(cmd, "follow", follow),
			}
			if len(args) > 0 {
				p.ID = &args[0]
			}
			return t.logs(cmd, s, p)
		}),
	}
	o.addTo(t, cmd)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with new entries, until interrupted, which is not a failure; not with --transport dbus")
	cmd.Flags().Int64VarP(&lines, "lines", "n", interfaces.DefaultLogLines, fmt.Sprintf("`NUMBER` of entries at most, from 0 to %d", interfaces.MaxLogLines))
	cmd.Flags().Var(&from, "since", "only entries since this TIME")
	return cmd
}

// logs prints entries as they come, or an array of them.
func (t *tool) logs(cmd *cobra.Command, s service, p interfaces.ReadLogParameters) error {
	follow := p.Follow != nil && *p.Follow
	all := []interfaces.LogEntry{}
	var failed error
	for entry, err := range s.ReadLog(cmd.Context(), p) {
		switch {
		case err != nil:
			failed = err
		case t.out.json && !follow:
			all = append(all, entry)
		default:
			t.out.logEntry(&entry, p.ID == nil)
		}
		if t.out.err != nil {
			return nil // run returns t.out.err
		}
	}
	if t.out.json && !follow {
		t.out.result(all, nil)
	}
	switch {
	case follow && cmd.Context().Err() != nil:
		return nil // interrupted, which is the way to end it
	case follow && errors.Is(failed, client.ErrInterrupted):
		return errLogEnded
	}
	return failed
}

// instant is the value of an option that takes a point in time, in the interface's unit; usec is
// nil if the option is not given.
type instant struct {
	now  func() time.Time
	usec *int64
}

func (*instant) String() string { return "" } // no default
func (*instant) Type() string   { return "TIME" }

func (i *instant) Set(s string) error {
	at, err := i.parse(s)
	i.usec = new(at.UnixMicro())
	return err
}

// parse reads a duration, which is how long ago, "@" and seconds since the epoch, or a time in
// the local zone; without a date it is today's.
func (i *instant) parse(s string) (time.Time, error) {
	now := i.now()
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d.Abs()), nil
	}
	if seconds, ok := strings.CutPrefix(s, "@"); ok {
		if n, err := strconv.ParseInt(seconds, 10, 40); err == nil {
			return time.Unix(n, 0), nil
		}
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if at, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return at, nil
		}
	}
	for _, layout := range []string{time.TimeOnly, "15:04"} {
		if at, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return time.Date(now.Year(), now.Month(), now.Day(), at.Hour(), at.Minute(), at.Second(), 0, now.Location()), nil
		}
	}
	return now, errors.New(`must be how long ago, such as 10m, or a time, such as 14:05, 2006-01-02 or "2006-01-02 14:05:06"`)
}
