package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// shownID is how many digits of an image's ID a table shows, as podman's tables do.
const shownID = 12

func shortImage(id string) string { return cmp.Or(id[:min(len(id), shownID)], none) }

func (p *printer) images(images []*neededImage) {
	p.result(images, func(w io.Writer) {
		row(w, "IMAGE", "ID", "CREATED", "CURRENT", "OUTDATED", "PROFILES", "AGENTS")
		for _, i := range images {
			id, created := shortImage(textOr(i.ID, "")), none
			if i.Present != nil && !*i.Present {
				id = "missing"
			}
			if i.CreatedUSec != nil {
				created = ago(p.now().Sub(time.UnixMicro(*i.CreatedUSec)))
			}
			row(w, i.Reference, id, created, numberOr(i.Current), numberOr(i.Outdated), strings.Join(i.Profiles, " "), strings.Join(i.Agents, " "))
		}
	})
}

func (p *printer) pulled(all []pulled) {
	if all == nil {
		all = []pulled{}
	}
	p.result(all, func(w io.Writer) {
		if len(all) > 0 {
			row(w, "IMAGE", "ID", "RESULT")
		}
		for _, i := range all {
			row(w, i.Reference, shortImage(i.ID), i.Result)
		}
	})
}

// printPulling says on standard error what is pulled, before podman shows its progress.
func printPulling(w io.Writer, i *neededImage) {
	fmt.Fprintln(w, printable("pulling "+i.Reference+" for "+strings.Join(i.Profiles, ", ")))
}

// printWarning says on standard error why a result has gaps.
func printWarning(w io.Writer, text string) { fmt.Fprintln(w, "warning: "+printable(text)) }

// recycledLine has columns of fixed width: the widths of later lines are not known yet.
const recycledLine = "%-9s  %-36s  %-8s  %s\n"

func (p *printer) recycleHeader() {
	if !p.json {
		p.write(fmt.Sprintf(recycledLine, "PROGRESS", "ID", "RESULT", "AWAY"))
	}
}

// recycled prints one line, at once.
func (p *printer) recycled(number, total int, one *recycled) {
	if p.json {
		p.jsonLine(one)
		return
	}
	p.write(fmt.Sprintf(recycledLine, fmt.Sprintf("%d/%d", number, total), printable(one.ID), one.Result, awayWords(one)))
}

func awayWords(one *recycled) string {
	switch {
	case one.AwayUSec != nil:
		return seconds(*one.AwayUSec)
	case one.Reason != "":
		first, _, _ := strings.Cut(one.Reason, "\n")
		return printable(first)
	}
	return none
}

// seconds shows a duration in microseconds to a millisecond.
func seconds(usec int64) string { return fmt.Sprintf("%.3fs", float64(usec)/1e6) }

// recycleSummary prints what became of all, and how to go on.
func (p *printer) recycleSummary(results []recycled, o recycleOptions) {
	if p.json {
		return
	}
	var text strings.Builder
	for _, result := range []string{recycleReplaced, recycleSkipped, recycleKept, recycleFailed, recycleRemains} {
		n := 0
		for _, one := range results {
			if one.Result == result {
				n++
			}
		}
		if n > 0 || result == recycleReplaced {
			fmt.Fprintf(&text, "%s: %d; ", result, n)
		}
	}
	var away []int64
	for _, one := range results {
		if one.AwayUSec != nil {
			away = append(away, *one.AwayUSec)
		}
	}
	if len(away) > 0 {
		slices.Sort(away)
		fmt.Fprintf(&text, "away: median %s, max %s; ", seconds(away[len(away)/2]), seconds(away[len(away)-1]))
	}
	p.write(strings.TrimSuffix(text.String(), "; ") + "\n")
	if !o.outdated && slices.ContainsFunc(results, func(one recycled) bool { return one.Result == recycleRemains }) {
		p.write("to go on: the same command with --started-before " + time.UnixMicro(*o.before.usec).UTC().Format(time.RFC3339Nano) + "\n")
	}
}

// recycledAll prints what a dry run has found.
func (p *printer) recycledAll(all []recycled) {
	p.result(all, func(w io.Writer) {
		row(w, "ID", "RESULT", "REASON")
		for _, one := range all {
			row(w, one.ID, one.Result, cmp.Or(awayWords(&one), none))
		}
	})
}
