package policy

import "fmt"

// didYouMean returns " (did you mean X?)" for the candidate nearest to word, or
// nothing if none is near.
func didYouMean(word string, candidates []string) string {
	best, ok := nearest(word, candidates)
	if !ok {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s?)", best)
}

// nearest returns the candidate that takes the fewest edits to get to, if these
// are at most a third of the word.
func nearest(word string, candidates []string) (string, bool) {
	const longest = 64
	best, found := "", false
	least := len(word)/3 + 1
	if len(word) > longest {
		return "", false
	}
	for _, candidate := range candidates {
		if len(candidate) > longest {
			continue
		}
		if d := distance(word, candidate); d < least || (d == least && !found) {
			best, found, least = candidate, true, d
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
