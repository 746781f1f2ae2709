package policy

import (
	"fmt"
	"strings"
)

const maxName = 128 // of a namespace, of a process tag

// checkLabel says what is wrong with the name of a network namespace or with a
// process tag, and returns "" if nothing is. Such a name is safe as a file's
// name, in an environment variable and in a log line.
func checkLabel(s string) string {
	switch {
	case s == "":
		return "it is empty"
	case len(s) > maxName:
		return fmt.Sprintf("it is longer than %d bytes", maxName)
	case !isAll(s, isNameByte):
		return "it may have only letters, digits, '.', '_' and '-' in it"
	case s == "." || s == "..":
		return "it would be a directory"
	}
	return ""
}

// checkPattern is checkLabel for a pattern, in which '*' stands for any number
// of characters.
func checkPattern(pattern string) string {
	if pattern != "" && strings.Trim(pattern, "*") == "" {
		return "" // everything; worth a warning
	}
	return checkLabel(strings.ReplaceAll(pattern, "*", "_"))
}

// match reports whether the name fits the pattern. It takes time in proportion
// to the product of their lengths, at worst.
func match(pattern, name string) bool {
	p, n := 0, 0
	star, retry := -1, 0 // where to go on after a mismatch
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, retry = p, n
			p++
		case p < len(pattern) && pattern[p] == name[n]:
			p++
			n++
		case star >= 0:
			retry++
			p, n = star+1, retry
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
