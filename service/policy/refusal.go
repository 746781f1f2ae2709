package policy

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"tripleo.io/sidecar/interfaces"
)

const maxShown = 200 // bytes of an argument in an error

// refusal is why an argument is not accepted.
type refusal struct {
	index  int // -1: an argument is missing
	rule   string
	reason string
	reach  int // how far the rule came, to find the nearest one; no part of the answer
}

func refuse(index int, rule, format string, args ...any) *refusal {
	return &refusal{index: index, rule: rule, reason: fmt.Sprintf(format, args...)}
}

// error returns the refusal as the interface's own error. For a missing
// argument, the argument is the option that is missing.
func (r *refusal) error(arguments []string) error {
	e := &interfaces.ArgumentNotAllowedError{Index: int64(r.index), Reason: r.reason}
	if r.index >= 0 {
		e.Argument = cut(arguments[r.index])
	} else {
		e.Argument = optionOf(r.rule)
	}
	if r.rule != "" {
		e.Rule = &r.rule
	}
	return e
}

// cut shortens s to what an error shows, and makes it valid UTF-8.
func cut(s string) string {
	const more = "…"
	if len(s) > maxShown {
		end := maxShown - len(more)
		for end > 0 && !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end] + more
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
