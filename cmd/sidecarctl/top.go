package main

import (
	"context"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

func newTop(t *tool) *cobra.Command {
	var o selectors
	var batch bool
	var interval time.Duration
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Show what sidecars use, again and again",
		Long: `Show the sidecars that every given option matches with their state, restarts,
processor time (100% is one processor), memory and tasks, the busiest first, until
interrupted. The figures count all processes in the unit's control group, also the
engine's own; a figure is "-" if the host does not have the controller.

A table of 80 columns fits unless IDs are long; then their middle is left out. A
terminal of some 105 columns also shows the last line that each has logged (not with
--transport dbus).

With -b, if the output is not a terminal, and with -o json, the table is shown once;
json is the interface's type Sidecar with usage.`,
		Args: cobra.NoArgs,
		RunE: t.calling(0, func(cmd *cobra.Command, s service, _ []string) error {
			if interval < minInterval {
				return &usageError{"--interval: must be 100ms or more"}
			}
			w := &watched{ask: func(ctx context.Context) ([]interfaces.Sidecar, error) {
				return s.List(ctx, interfaces.ListParameters{
					Agent: given(cmd, "agent", o.agent), Profile: given(cmd, "profile", o.profile), Usage: new(true),
				})
			}, interval: interval}
			screen, ok := t.out.to.(*os.File)
			if _, _, err := sizeOf(screen); t.out.json || batch || !ok || err != nil {
				return t.topOnce(cmd.Context(), w)
			}
			p := interfaces.ReadLogParameters{
				Agent: given(cmd, "agent", o.agent), Profile: given(cmd, "profile", o.profile),
				Lines: new(int64(interfaces.MaxLogLines)), Follow: new(true),
			}
			go w.readLog(cmd.Context(), s, p)
			return t.top(cmd.Context(), w, screen)
		}),
	}
	o.addTo(t, cmd)
	cmd.Flags().BoolVarP(&batch, "batch", "b", false, "show the table once")
	cmd.Flags().DurationVarP(&interval, "interval", "d", 2*time.Second, "`DURATION` between two looks, over which processor time is measured")
	return cmd
}

// minInterval keeps a top from taking the time of the service.
const minInterval = 100 * time.Millisecond

// sizeOf returns the size of a terminal, or an error if screen is not a terminal.
func sizeOf(screen *os.File) (columns, lines int, err error) {
	size, err := unix.IoctlGetWinsize(int(screen.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, 0, err
	}
	return int(size.Col), int(size.Row), nil
}

// watched are the sidecars at the last two looks.
type watched struct {
	ask      func(context.Context) ([]interfaces.Sidecar, error)
	interval time.Duration
	sidecars []interfaces.Sidecar
	at       time.Time
	before   map[string]int64 // processor time at the look before, by invocation
	elapsed  time.Duration    // since then

	mu   sync.Mutex
	last map[string]string // what each logged last
}

// look asks for the sidecars.
func (w *watched) look(ctx context.Context) error {
	sidecars, err := w.ask(ctx)
	if err != nil {
		return err
	}
	w.before = map[string]int64{}
	for _, s := range w.sidecars {
		if usec := cpuOf(&s); usec != nil {
			w.before[*s.Runtime.InvocationID] = *usec
		}
	}
	now := time.Now()
	w.elapsed, w.at, w.sidecars = now.Sub(w.at), now, sidecars
	return nil
}

// cpuOf returns the processor time of a run, nil if it is not known.
func cpuOf(s *interfaces.Sidecar) *int64 {
	if s.Runtime.Usage == nil || s.Runtime.InvocationID == nil {
		return nil
	}
	return s.Runtime.Usage.CPUUSec
}

// share returns how much of a processor's time the sidecar took between the two looks; -1 if
// that is not known.
func (w *watched) share(s *interfaces.Sidecar) float64 {
	usec := cpuOf(s)
	if usec == nil || w.elapsed <= 0 {
		return -1
	}
	before, ok := w.before[*s.Runtime.InvocationID]
	if !ok {
		return -1
	}
	return float64(max(0, *usec-before)) / float64(w.elapsed.Microseconds())
}

// readLog keeps the last line of each sidecar. Without it, as over D-Bus, none is shown.
func (w *watched) readLog(ctx context.Context, s service, p interfaces.ReadLogParameters) {
	for entry, err := range s.ReadLog(ctx, p) {
		if err != nil {
			return
		}
		w.mu.Lock()
		if w.last == nil {
			w.last = map[string]string{}
		}
		w.last[entry.ID] = entry.Message
		w.mu.Unlock()
	}
}

func (w *watched) lastLine(id string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last[id]
}

// topOnce prints one table after two looks, or the interface's types.
func (t *tool) topOnce(ctx context.Context, w *watched) error {
	if err := w.look(ctx); err != nil {
		return err
	}
	if t.out.json {
		t.out.sidecars(w.sidecars)
		return nil
	}
	if err := pause(ctx, w.interval); err != nil {
		return err
	}
	if err := w.look(ctx); err != nil {
		return err
	}
	t.out.top(w, batchColumns, len(w.sidecars)+topHeader)
	return nil
}

// top draws the table until it is interrupted.
func (t *tool) top(ctx context.Context, w *watched, screen *os.File) error {
	t.out.alternate(true)
	defer t.out.alternate(false)
	for {
		err := w.look(ctx)
		if err == nil {
			columns, lines, _ := sizeOf(screen)
			t.out.home()
			t.out.top(w, columns, lines)
			err = pause(ctx, w.interval)
		}
		switch {
		case ctx.Err() != nil, t.out.err != nil:
			return nil // interrupted, or run returns t.out.err
		case err != nil:
			return err
		}
	}
}

// pause waits, at most until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
