package main

// The rules of the user interface. This file and print_*.go are the only ones that print.
//
//   - Results go to stdout, everything else to stderr. A failure is one line "error: …" that
//     says what and why, and one line "hint: …" that says what to do, if that is known. The
//     output of a program that failed stands between them.
//   - A table has a header in capitals, one line for each thing, and no borders, cuts or
//     colours. One thing is shown as "Name: value" lines. An unknown value is "-" in a table;
//     its "Name: value" line is left out.
//   - States are words. Times are in the local zone, with how long ago; durations are as
//     systemctl shows them.
//   - Text from agents and programs is never printed raw: everything that is not printable
//     is an escape, in JSON too.
//   - With -o json the result is one array or object of the interface's own types; a list is
//     never null. Failures are the same lines.
//   - monitor and recycle print one line for each event or sidecar when it comes, in columns of
//     fixed width; with -o json one object on each line. So do logs -f, in the form
//     of journalctl.
//   - top fits into the terminal: it may cut IDs and lines, and only it moves the cursor.
//   - A success that has nothing to tell (signal) prints nothing.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf16"

	"tripleo.io/sidecar/client"
)

// printer writes results. It remembers the first error of writing.
type printer struct {
	to   io.Writer
	now  func() time.Time // its location is the zone in which times are shown
	json bool
	err  error

	screen bool // top draws on a terminal
}

// result prints the value as JSON, or lets table print it.
func (p *printer) result(value any, table func(w io.Writer)) {
	var b bytes.Buffer
	if p.json {
		if p.err = encode(&b, value, "  "); p.err != nil {
			return
		}
	} else {
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		table(w)
		_ = w.Flush() // a buffer takes everything
	}
	_, p.err = p.to.Write(b.Bytes())
}

// write prints text at once.
func (p *printer) write(text string) { _, p.err = io.WriteString(p.to, text) }

// jsonLine prints the value as JSON on one line, at once.
func (p *printer) jsonLine(value any) {
	var b bytes.Buffer
	if p.err = encode(&b, value, ""); p.err == nil {
		p.write(b.String())
	}
}

// encode writes JSON with escapes for all runes that are not printable, which JSON allows
// within strings only. Without an indent it is one line.
func encode(b *bytes.Buffer, value any, indent string) error {
	var raw bytes.Buffer
	encoder := json.NewEncoder(&raw)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", indent)
	if err := encoder.Encode(value); err != nil {
		return err
	}
	for _, r := range raw.String() {
		if r == '\n' || unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(b, `\u%04x`, unit)
		}
	}
	return nil
}

// row writes the cells of one line of a table.
func row(w io.Writer, cells ...string) {
	for i, cell := range cells {
		cells[i] = printable(cell)
	}
	fmt.Fprintln(w, strings.Join(cells, "\t"))
}

// field writes a "Name: value" line, unless there is no value.
func field(w io.Writer, name, value string) {
	if value != "" {
		row(w, name+":", value)
	}
}

func textOr(s *string, otherwise string) string {
	if s == nil {
		return otherwise
	}
	return *s
}

// printFailure writes each error with its hint.
func printFailure(w io.Writer, err error) {
	for _, err := range parts(err) {
		o := find(err)
		first, rest, _ := strings.Cut(message(err), "\n")
		fmt.Fprintln(w, "error: "+printable(first))
		for line := range strings.Lines(rest) {
			fmt.Fprintln(w, "  | "+printable(strings.TrimSuffix(line, "\n")))
		}
		if o.hint != "" {
			fmt.Fprintln(w, "hint: "+o.hint)
		}
	}
}

// message is the error's text without the hint, which has a line of its own.
func message(err error) string {
	var unreachable *client.UnreachableError
	if errors.As(err, &unreachable) {
		return fmt.Sprintf("cannot reach the service at %s: %v", unreachable.Address, unreachable.Err)
	}
	return err.Error()
}
