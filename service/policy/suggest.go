package policy

import (
	"fmt"
	"strings"
)

// didYouMean returns " (did you mean X?)" for the candidate nearest to word, or
// nothing if none is near.
func didYouMean(word string, candidates []string) string {
	best, ok := nearest(word, candidates)
	if !ok {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s?)", best)
}

// nearest returns the candidate that takes the fewest edits to get to: at most
// two, and less in a short word.
func nearest(word string, candidates []string) (best string, found bool) {
	const longest = 64 // more is no slip of the fingers
	most := min(2, (len(strings.TrimLeft(word, "-"))+1)/3)
	for _, candidate := range candidates {
		if max(len(word), len(candidate)) > longest {
			continue
		}
		if d := distance(word, candidate); d <= most {
			best, found, most = candidate, true, d-1
		}
	}
	return best, found
}

// distance is the Levenshtein distance in bytes; letters that differ only in
// their case count nothing.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if lower(a[i]) != lower(b[j]) {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
