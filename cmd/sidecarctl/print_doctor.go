package main

import (
	"io"

	"tripleo.io/sidecar/internal/doctor"
)

// findings prints two lines for each finding: what is wrong, and what to do.
func (p *printer) findings(findings []doctor.Finding) {
	p.result(findings, func(w io.Writer) {
		if len(findings) == 0 {
			row(w, "nothing is out of line")
		}
		for _, f := range findings {
			row(w, string(f.Level)+": "+f.Look+": "+f.Subject+": "+f.Problem)
			row(w, "  to do: "+f.Advice)
		}
	})
}
