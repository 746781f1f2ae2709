package policy

import (
	"fmt"
	"slices"
)

// ambiguous says why two rules cannot both be in a profile, and returns "" if they
// can. They may accept the same argument unless one of them names a file: the other
// would not check the path, or would mount it differently.
func ambiguous(a, b *rule) string {
	switch {
	case a.text == b.text:
		return "it is listed twice"
	case len(a.words) != len(b.words):
		one, two := a, b
		if len(a.words) == 2 {
			one, two = b, a
		}
		if overlap(one.words[0], two.words[0]) {
			return fmt.Sprintf("%q and %q: %s cannot be both alone and with a value", one.text, two.text, two.option)
		}
	case len(a.holes()) == 0 || len(b.holes()) == 0 || !(a.namesFile() || b.namesFile()):
		return "" // a rule without holes comes first
	case slices.EqualFunc(a.words, b.words, overlap):
		return fmt.Sprintf("an argument could be accepted by %q and by %q, and a file that one of them names would be treated differently", a.text, b.text)
	}
	return ""
}

// overlap reports whether some argument fits both words. Of a hole it considers only
// the bytes, so it may report true for words that have no argument in common.
func overlap(a, b word) bool {
	as, bs := a.steps(), b.steps()
	type state struct{ i, j int }
	seen := map[state]bool{}
	todo := []state{{0, 0}}
	for len(todo) > 0 {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[s] {
			continue
		}
		seen[s] = true
		if s.i == len(as) && s.j == len(bs) {
			return true
		}
		if s.i == len(as) || s.j == len(bs) || !intersect(as[s.i].accepts, bs[s.j].accepts) {
			continue
		}
		for _, i := range as[s.i].after(s.i) {
			for _, j := range bs[s.j].after(s.j) {
				todo = append(todo, state{i, j})
			}
		}
	}
	return false
}

// step is one byte of a literal, or a hole, which accepts one byte or more.
type step struct {
	accepts class
	repeats bool
}

func (w word) steps() []step {
	var steps []step
	for _, p := range w {
		if p.hole != nil {
			accepts := p.hole.accepts
			if p.hole.path {
				steps = append(steps, step{accepts: only('/')})
			}
			steps = append(steps, step{accepts, true})
		}
		for i := range len(p.literal) {
			steps = append(steps, step{accepts: only(p.literal[i])})
		}
	}
	return steps
}

// after lists the steps that may accept the next byte after this step, the i-th.
func (s step) after(i int) []int {
	if s.repeats {
		return []int{i, i + 1}
	}
	return []int{i + 1}
}

func only(want byte) class { return func(c byte) bool { return c == want } }

func intersect(a, b class) bool {
	for c := range 256 {
		if a(byte(c)) && b(byte(c)) {
			return true
		}
	}
	return false
}
