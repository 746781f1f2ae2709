package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"tripleo.io/sidecar/interfaces"
)

// none stands for a value that is not known or does not apply.
const none = "-"

// stateWords describes a sidecar's state.
func stateWords(r *interfaces.Runtime) string {
	s := string(r.State)
	if how := endWords(r.ExitCode, r.ExitSignal); how != "" && (r.State == interfaces.StateFailed || r.State == interfaces.StateRestarting) {
		s += ", " + how
	}
	if r.Result != nil && *r.Result == interfaces.ResultOutOfMemory {
		s += ", out of memory"
		if r.MemoryLimit != nil && *r.MemoryLimit != interfaces.MemoryLimitProfile {
			s += " of the " + string(*r.MemoryLimit)
		}
	}
	if r.Health != nil && *r.Health == interfaces.HealthUnhealthy {
		s += ", unhealthy"
	}
	if r.Frozen {
		s += ", frozen"
	}
	if r.ImageOutdated {
		s += ", image outdated"
	}
	return s
}

// healthWords describes a sidecar's health, if its profile has a probe.
func healthWords(r *interfaces.Runtime, now time.Time) string {
	if r.Health == nil {
		return ""
	}
	s := string(*r.Health)
	if r.HealthSinceUSec != nil {
		s += " since " + moment(r.HealthSinceUSec, now)
	}
	if r.HealthReason != nil {
		s += "; " + *r.HealthReason
	}
	return s
}

// endWords says how a process ended, or nothing.
func endWords(exitCode *int64, exitSignal *string) string {
	switch {
	case exitSignal != nil:
		return "killed by " + *exitSignal
	case exitCode != nil:
		return fmt.Sprintf("exit code %d", *exitCode)
	}
	return ""
}

// since returns the time of the last change of a sidecar's state, or nil.
func since(r *interfaces.Runtime) *int64 {
	switch r.State {
	case interfaces.StateReady:
		return r.ReadyUSec
	case interfaces.StateFailed, interfaces.StateRestarting:
		return r.ExitedUSec
	case interfaces.StateStarting:
		return r.StartedUSec
	}
	return nil
}

// numberOr returns the number as text, or "-".
func numberOr[N int64 | uint32](n *N) string {
	if n == nil {
		return none
	}
	return strconv.FormatInt(int64(*n), 10)
}

// moment shows a time as systemctl does: when, and how long ago. nil is "".
func moment(usec *int64, now time.Time) string {
	if usec == nil {
		return ""
	}
	t := time.UnixMicro(*usec).In(now.Location())
	return t.Format("Mon 2006-01-02 15:04:05 MST") + "; " + ago(now.Sub(t))
}

// ago shows a duration with the two units that matter, as systemd's
// format_timestamp_relative (src/basic/time-util.c) does.
func ago(d time.Duration) string {
	const day, week = 24 * time.Hour, 7 * 24 * time.Hour
	const month, year = 2629800 * time.Second, 31557600 * time.Second
	switch {
	case d.Abs() < time.Second:
		return "just now"
	case d < 0: // the clock was set back
		return short(-d) + " from now"
	case d >= year:
		return span(d, year, "year", month, "month") + " ago"
	case d >= month:
		return span(d, month, "month", day, "day") + " ago"
	case d >= week:
		return span(d, week, "week", day, "day") + " ago"
	case d >= 2*day:
		return fmt.Sprintf("%d days ago", d/day)
	case d >= 25*time.Hour:
		return fmt.Sprintf("1 day %dh ago", (d-day)/time.Hour)
	case d >= 6*time.Hour:
		return fmt.Sprintf("%dh ago", d/time.Hour)
	}
	return short(d) + " ago"
}

// short shows a duration with at most two units: 5h 3min, 7min, 2min 5s, 12s.
func short(d time.Duration) string {
	switch {
	case d >= time.Hour:
		return fmt.Sprintf("%dh %dmin", d/time.Hour, d%time.Hour/time.Minute)
	case d >= 5*time.Minute:
		return fmt.Sprintf("%dmin", d/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dmin %ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

func span(d, large time.Duration, largeName string, small time.Duration, smallName string) string {
	s := count(d/large, largeName)
	if rest := d % large / small; rest > 0 {
		s += " " + count(rest, smallName)
	}
	return s
}

func count(n time.Duration, name string) string {
	if n != 1 {
		name += "s"
	}
	return fmt.Sprintf("%d %s", n, name)
}

// printable replaces everything that a terminal could take for a command, or show in a
// misleading way: arguments and output come from agents, which may be hostile.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}

// shellWords joins the words so that a shell (bash, zsh, ksh) splits them into the same
// words again.
func shellWords(words []string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = shellWord(word)
	}
	return strings.Join(quoted, " ")
}

func shellWord(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./=:,@%+"
	switch {
	case s != "" && strings.Trim(s, plain) == "":
		return s
	case printable(s) == s:
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	escaped := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s)
	return "$'" + printable(escaped) + "'"
}
