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
	case len(a.words) > len(b.words):
		return ambiguous(b, a)
	case len(a.words) < len(b.words):
		if overlap(a.words[0], b.words[0]) {
			return fmt.Sprintf("%q and %q: %s cannot be both alone and with a value", a.text, b.text, b.option)
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
	seen := map[[2]int]bool{}
	var from func(i, j int) bool // whether the steps from i and j on overlap
	from = func(i, j int) bool {
		switch at := [2]int{i, j}; {
		case i == len(as) || j == len(bs):
			return i == len(as) && j == len(bs)
		case seen[at] || !intersect(as[i].accepts, bs[j].accepts):
			return false
		default:
			seen[at] = true
		}
		return from(i+1, j+1) || as[i].repeats && from(i, j+1) || bs[j].repeats && from(i+1, j)
	}
	return from(0, 0)
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

func only(want byte) class { return func(c byte) bool { return c == want } }

func intersect(a, b class) bool {
	for c := range 256 {
		if a(byte(c)) && b(byte(c)) {
			return true
		}
	}
	return false
}
