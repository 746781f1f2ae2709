package main

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"tripleo.io/sidecar/interfaces"
)

const (
	// topHeader is how many lines stand above the rows of top.
	topHeader = 2
	// batchColumns is the width of a table that is not for a terminal.
	batchColumns = 80
	// topFigures is the width of the columns between the ID and the last line.
	topFigures = 46
	// minLastLine is the room that the last line needs to be shown.
	minLastLine = 24
)

// top prints the sidecars, the busiest first, in so many columns and lines. Each line of a
// terminal is erased to its end, and what was below the last one.
func (p *printer) top(w *watched, columns, lines int) {
	sidecars := slices.Clone(w.sidecars)
	slices.SortStableFunc(sidecars, func(a, b interfaces.Sidecar) int { return cmp.Compare(w.share(&b), w.share(&a)) })
	width := 2
	for _, s := range sidecars {
		width = max(width, len(s.ID))
	}
	width = min(width, max(columns-topFigures, 16))
	room := columns - width - topFigures - 2
	var b bytes.Buffer
	p.screenLine(&b, p.now().Format("15:04:05")+"  "+counts(sidecars))
	header := fmt.Sprintf("%-*s  %-10s  %8s  %6s  %7s  %5s", width, "ID", "STATE", "RESTARTS", "CPU", "MEMORY", "TASKS")
	if room >= minLastLine {
		header += "  LAST LINE"
	}
	p.screenLine(&b, header)
	for i := range sidecars[:min(len(sidecars), max(0, lines-topHeader))] {
		row := topRow(w, &sidecars[i], width)
		if last := printable(w.lastLine(sidecars[i].ID)); room >= minLastLine && last != "" {
			row += "  " + cutTo(last, room)
		}
		p.screenLine(&b, row)
	}
	text := b.Bytes()
	if p.screen {
		text = append(bytes.TrimSuffix(text, []byte("\n")), "\x1b[J"...)
	}
	if p.err == nil {
		_, p.err = p.to.Write(text)
	}
}

// screenLine adds a line.
func (p *printer) screenLine(b *bytes.Buffer, text string) {
	b.WriteString(text)
	if p.screen {
		b.WriteString("\x1b[K")
	}
	b.WriteByte('\n')
}

// alternate turns the terminal's second screen on or off (xterm's ctlseqs, 1049).
func (p *printer) alternate(on bool) {
	p.screen = on
	sequence := "\x1b[?1049l"
	if on {
		sequence = "\x1b[?1049h"
	}
	if _, err := p.to.Write([]byte(sequence)); p.err == nil {
		p.err = err
	}
}

// home moves the cursor to the beginning of the screen.
func (p *printer) home() {
	if p.err == nil {
		_, p.err = p.to.Write([]byte("\x1b[H"))
	}
}

func topRow(w *watched, s *interfaces.Sidecar, width int) string {
	state := string(s.Runtime.State)
	if s.Runtime.Frozen {
		state = "frozen"
	}
	cpu, memory, tasks := none, none, none
	if share := w.share(s); share >= 0 {
		cpu = fmt.Sprintf("%.1f%%", 100*share)
	}
	if u := s.Runtime.Usage; u != nil {
		memory, tasks = bytesOr(u.MemoryBytes), numberOr(u.Tasks)
	}
	return fmt.Sprintf("%-*s  %-10s  %8d  %6s  %7s  %5s", width, shortID(printable(s.ID), width), printable(state),
		s.Runtime.Restarts, cpu, memory, tasks)
}

// counts says how many sidecars are in each state.
func counts(sidecars []interfaces.Sidecar) string {
	n := map[interfaces.SidecarState]int{}
	for _, s := range sidecars {
		n[s.Runtime.State]++
	}
	text := fmt.Sprintf("%d sidecars", len(sidecars))
	for _, state := range interfaces.SidecarStates {
		if n[state] > 0 {
			text += fmt.Sprintf(", %d %s", n[state], state)
		}
	}
	return text
}

// shortID cuts an ID in front of its hash, which tells instances apart.
func shortID(id string, width int) string {
	dot := strings.LastIndexByte(id, '.')
	if len(id) <= width || dot < 0 || width < len(id)-dot+1 {
		return cutTo(id, width)
	}
	return id[:width-(len(id)-dot)-1] + "…" + id[dot:]
}

// cutTo cuts a text to so many characters.
func cutTo(s string, n int) string {
	runes := []rune(s)
	if len(runes) <= n {
		return s
	}
	return string(runes[:max(0, n-1)]) + "…"
}

// bytesOr shows a size as systemd does, in units of 1024; "-" for nil.
func bytesOr(n *int64) string {
	if n == nil {
		return none
	}
	value, unit := float64(*n), 0
	for ; value >= 1024 && unit < len("BKMGTP")-1; unit++ {
		value /= 1024
	}
	if unit == 0 {
		return fmt.Sprintf("%dB", *n)
	}
	return fmt.Sprintf("%.1f%c", value, "BKMGTP"[unit])
}
