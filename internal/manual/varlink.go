package main

import (
	"fmt"
	"regexp"
	"strings"
)

// description is an interface in varlink's language (https://varlink.org/Interface-Definition),
// in the layout that io.tripleo.Sidecar.varlink has: a member a line, comments above it.
type description struct {
	name, doc    string
	declarations []declaration
}

// declaration is a type, a method or an error.
type declaration struct {
	kind, name, doc string
	in, out         []member // of a type or an error: in
}

// member is a field, or a word of an enumeration, which has no type.
type member struct {
	name, kind, doc string
}

// find returns the declaration of a kind and a name.
func (d description) find(kind, name string) (declaration, bool) {
	for _, e := range d.declarations {
		if e.kind == kind && e.name == name {
			return e, true
		}
	}
	return declaration{}, false
}

var (
	interfaceLine = regexp.MustCompile(`^interface ([a-zA-Z0-9.]+)$`)
	beginning     = regexp.MustCompile(`^(type|method|error) ([A-Za-z0-9]+) ?\((\) -> \(\))?$`)
	ending        = regexp.MustCompile(`^\)( -> \((\))?)?$`)
	memberLine    = regexp.MustCompile(`^  ([A-Za-z0-9_]+)(: (\S+?))?,?$`)
)

// parseVarlink reads a definition. A line that it does not understand is an error.
func parseVarlink(text string) (d description, err error) {
	var doc []string
	taken := func() string {
		s := strings.Join(doc, "\n")
		doc = nil
		return s
	}
	var open *[]member
	for i, line := range strings.Split(text, "\n") {
		comment, isComment := strings.CutPrefix(strings.TrimSpace(line), "#")
		switch {
		case isComment:
			doc = append(doc, strings.TrimPrefix(comment, " "))
		case line == "":
			doc = nil
		case interfaceLine.MatchString(line):
			d.name, d.doc = interfaceLine.FindStringSubmatch(line)[1], taken()
		case beginning.MatchString(line):
			m := beginning.FindStringSubmatch(line)
			d.declarations = append(d.declarations, declaration{kind: m[1], name: m[2], doc: taken()})
			if m[3] == "" {
				open = &d.declarations[len(d.declarations)-1].in
			}
		case ending.MatchString(line) && open != nil:
			if m := ending.FindStringSubmatch(line); m[1] == "" || m[2] != "" {
				open = nil
			} else {
				open = &d.declarations[len(d.declarations)-1].out
			}
		case memberLine.MatchString(line) && open != nil:
			m := memberLine.FindStringSubmatch(line)
			*open = append(*open, member{m[1], m[3], taken()})
		default:
			return d, fmt.Errorf("line %d: %q is not understood", i+1, line)
		}
	}
	if d.name == "" {
		return d, fmt.Errorf("no interface is declared")
	}
	return d, nil
}

// varlinkPage is the page in section 7.
func varlinkPage(d description) string {
	p := newPage(d.name, "7", "the varlink interface of sidecar")
	p.text(d.doc)
	p.section("ADDRESSES")
	p.text("An agent finds the service at unix:/run/sidecar/" + d.name + ", which on the host is " +
		"unix:/run/sidecar/agents/AGENT/" + d.name + ". On the host unix:/run/sidecar/" + d.name + " is for operators.")
	for _, kind := range []struct{ word, heading string }{{"method", "METHODS"}, {"type", "TYPES"}, {"error", "ERRORS"}} {
		p.section(kind.heading)
		for _, e := range d.declarations {
			if e.kind != kind.word {
				continue
			}
			p.subsection(e.name)
			p.text(e.doc)
			p.members(e.in)
			if len(e.out) > 0 {
				p.paragraph("It answers:")
				p.members(e.out)
			}
		}
	}
	p.section("SEE ALSO")
	p.references("sidecard(8)", "sidecarctl(1)", "sidecar-policy(5)", "io.tripleo.Sidecar1(5)", "varlinkctl(1)")
	return p.String()
}
