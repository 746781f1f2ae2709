package main

import (
	"encoding/xml"
	"regexp"
	"slices"
	"strings"
)

// object is an interface in introspection data (D-Bus Specification, "Introspection Data Format").
type object struct {
	Name    string `xml:"name,attr"`
	Methods []struct {
		Name string     `xml:"name,attr"`
		Args []argument `xml:"arg"`
	} `xml:"method"`
	Signals []struct {
		Name string     `xml:"name,attr"`
		Args []argument `xml:"arg"`
	} `xml:"signal"`
	Properties []struct {
		Name   string `xml:"name,attr"`
		Type   string `xml:"type,attr"`
		Access string `xml:"access,attr"`
	} `xml:"property"`
}

type argument struct {
	Name      string `xml:"name,attr"`
	Type      string `xml:"type,attr"`
	Direction string `xml:"direction,attr"`
}

func parseIntrospection(text []byte) ([]object, error) {
	var node struct {
		Interfaces []object `xml:"interface"`
	}
	err := xml.Unmarshal(text, &node)
	return node.Interfaces, err
}

// ofVarlink is what comments say about varlink alone.
var ofVarlink = regexp.MustCompile(`(?m)^\[(Supports|Requires) 'more' flag\]$|^Without the 'more' flag .*\n.*$|, one a reply`)

// dbusPage is the page in section 5. What a method means is in the comments of varlink's method
// of the same name, which a property or a signal may lack.
func dbusPage(d description, objects []object) string {
	p := newPage("io.tripleo.Sidecar1", "5", "the D-Bus interfaces of sidecar")
	p.text("The same service as io.tripleo.Sidecar(7), on the system bus: the name is io.tripleo.Sidecar1, the manager " +
		"/io/tripleo/Sidecar1, and each sidecar is an object below /io/tripleo/Sidecar1/sidecar. Options and selectors " +
		"are the fields of the parameters there, in small letters: networkNamespace is network-namespace, and timeoutUSec " +
		"is timeout-usec. Answers are the fields there with a capital, such as Id and ProcessId, without the " +
		"structures that they are in. A field that is null is left out.")
	runtime, _ := d.find("type", "Runtime")
	context, _ := d.find("type", "Context")
	sidecar, _ := d.find("type", "Sidecar")
	fields := slices.Concat(sidecar.in, runtime.in, context.in)
	for _, o := range objects {
		p.section(strings.ToUpper(o.Name[strings.LastIndex(o.Name, ".")+1:]) + " INTERFACE")
		p.text("Its name is " + o.Name + ".")
		for _, m := range o.Methods {
			p.subsection(m.Name + "()")
			method, _ := d.find("method", m.Name)
			p.text(ofVarlink.ReplaceAllString(method.doc, ""))
			p.arguments("It takes", m.Args, "in")
			p.arguments("It answers", m.Args, "out")
		}
		if len(o.Properties) > 0 {
			p.subsection("Properties")
		}
		for _, property := range o.Properties {
			p.members([]member{{property.Name, property.Type, docOf(fields, property.Name)}})
		}
		if len(o.Signals) > 0 {
			p.subsection("Signals")
		}
		for _, s := range o.Signals {
			p.members([]member{{s.Name, signature(s.Args), ""}})
		}
	}
	p.section("SEE ALSO")
	p.references("io.tripleo.Sidecar(7)", "sidecard(8)", "busctl(1)", "polkit(8)")
	return p.String()
}

// docOf finds the comment of the field that a property shows.
func docOf(fields []member, property string) string {
	for _, f := range fields {
		if strings.EqualFold(f.name, property) {
			return f.doc
		}
	}
	return ""
}

// arguments writes a list of a method's arguments with their types.
func (p *page) arguments(what string, all []argument, direction string) {
	var some []argument
	for _, a := range all {
		if a.Direction == direction {
			some = append(some, a)
		}
	}
	if len(some) > 0 {
		p.paragraph(what + " " + signature(some) + ".")
	}
}

// signature names arguments and their types, as busctl(1) does.
func signature(args []argument) string {
	var words []string
	for _, a := range args {
		words = append(words, a.Name+" ("+a.Type+")")
	}
	return strings.Join(words, ", ")
}
