package main

import (
	"fmt"
	"strings"
)

// page is a manual page in the language of man(7).
type page struct{ strings.Builder }

func newPage(name, section, summary string) *page {
	p := &page{}
	fmt.Fprintf(p, ".TH %s %s \"\" sidecar sidecar\n.SH NAME\n%s \\- %s\n.SH DESCRIPTION\n", name, section, name, summary)
	return p
}

func (p *page) section(heading string)    { fmt.Fprintf(p, ".SH %s\n", heading) }
func (p *page) subsection(heading string) { fmt.Fprintf(p, ".SS %s\n", escaped(heading)) }

// text writes prose. An empty line begins a paragraph.
func (p *page) text(s string) {
	for i, paragraph := range strings.Split(strings.TrimSpace(s), "\n\n") {
		if i > 0 {
			p.WriteString(".PP\n")
		}
		for line := range strings.Lines(paragraph) {
			p.line(strings.TrimSpace(line))
		}
	}
}

// line writes a line of text. man(7) takes a line that begins with a dot or an apostrophe for a
// macro.
func (p *page) line(s string) {
	s = escaped(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	if s != "" {
		p.WriteString(s + "\n")
	}
}

// members writes a list of fields or words.
func (p *page) members(all []member) {
	for _, m := range all {
		fmt.Fprintf(p, ".TP\n.B %s", escaped(m.name))
		if m.kind != "" {
			fmt.Fprintf(p, " \\fI%s\\fR", escaped(m.kind))
		}
		p.WriteString("\n")
		if m.doc == "" {
			p.WriteString("\\&\n") // a tag must have a text
		}
		p.text(m.doc)
	}
}

// paragraph begins one after a list.
func (p *page) paragraph(s string) {
	p.WriteString(".PP\n")
	p.text(s)
}

// references writes names of pages, such as sidecard(8).
func (p *page) references(pages ...string) {
	for i, reference := range pages {
		name, section, _ := strings.Cut(reference, "(")
		end := ""
		if i < len(pages)-1 {
			end = ","
		}
		fmt.Fprintf(p, ".BR %s (%s%s\n", name, section, end)
	}
}

var special = strings.NewReplacer(`\`, `\e`, "-", `\-`, "…", "...")

func escaped(s string) string { return special.Replace(s) }
