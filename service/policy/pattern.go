package policy

import (
	"fmt"
	"strings"
	"unicode"
)

const (
	maxNamespace = 255 // bytes; NAME_MAX of Linux
	maxTag       = 512 // bytes; Neutron's longest has some 100
)

// checkNamespace says what is wrong with the name of a network namespace, and returns ""
// if nothing is. Such a name is safe as a file's name, in patterns and in a log line.
func checkNamespace(s string) string {
	switch {
	case s == "":
		return "it is empty"
	case len(s) > maxNamespace:
		return fmt.Sprintf("it is longer than %d bytes", maxNamespace)
	case s == "." || s == "..":
		return "it would be a directory"
	}
	for _, c := range s {
		if c > unicode.MaxASCII || !isNamespaceByte(byte(c)) {
			return fmt.Sprintf("it has %q in it; it may have only letters, digits and . _ - @ : + , = %% ~ #", c)
		}
	}
	return ""
}

// ValidNamespace reports whether an agent's file can grant a network namespace of this
// name.
func ValidNamespace(name string) bool { return checkNamespace(name) == "" }

func isNamespaceByte(c byte) bool { return isNameByte(c) || strings.IndexByte("@:+,=%~#", c) >= 0 }

// checkTag says what is wrong with a process tag. Neutron makes it of a service and an
// identifier, which can have '/' and ':' in it; the process sees it in its environment.
func checkTag(s string) string {
	switch {
	case s == "":
		return "it is empty"
	case len(s) > maxTag:
		return fmt.Sprintf("it is longer than %d bytes", maxTag)
	}
	return checkText(s)
}

// checkPattern is checkNamespace for a pattern, in which '*' stands for any number
// of characters.
func checkPattern(pattern string) string {
	if pattern != "" && strings.Trim(pattern, "*") == "" {
		return "" // everything; worth a warning
	}
	return checkNamespace(strings.ReplaceAll(pattern, "*", "_"))
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
