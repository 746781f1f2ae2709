package policy

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxArguments     = 1024
	maxArgument      = 4096     // bytes
	maxArgumentBytes = 64 << 10 // of all arguments together
)

// checkArguments refuses what no rule may accept: too much of it, and what
// cannot be read as plain text.
func checkArguments(arguments []string) *refusal {
	total := 0
	for i, argument := range arguments {
		total += len(argument)
		switch {
		case i >= maxArguments:
			return refuse(i, "", "there are %d arguments, %d are accepted", len(arguments), maxArguments)
		case len(argument) > maxArgument:
			return refuse(i, "", "it has %d bytes, %d are accepted", len(argument), maxArgument)
		case total > maxArgumentBytes:
			return refuse(i, "", "the arguments have more than %d bytes in all", maxArgumentBytes)
		}
		if reason := checkText(argument); reason != "" {
			return refuse(i, "", "%s", reason)
		}
	}
	return nil
}

// checkText says what makes an argument unreadable or misleading.
func checkText(s string) string {
	if !utf8.ValidString(s) {
		return "it is not valid UTF-8"
	}
	option := optionPart(s)
	for i, c := range s {
		switch {
		case unicode.IsControl(c):
			return fmt.Sprintf("it has the control character U+%04X at byte %d", c, i)
		case c == utf8.RuneError:
			return fmt.Sprintf("it has U+FFFD at byte %d, which stands for what was not valid UTF-8", i)
		case !unicode.IsPrint(c):
			return fmt.Sprintf("it has U+%04X at byte %d, which is not printable", c, i)
		case i < len(option) && isLookAlike(c):
			return fmt.Sprintf("it has U+%04X at byte %d, which only looks like '-': write the ASCII hyphen", c, i)
		}
	}
	return ""
}

// optionPart returns the part of an argument in which a dash that is not ASCII
// misleads: all before the '=' of an option, or of what looks like one.
func optionPart(s string) string {
	first, _ := utf8.DecodeRuneInString(s)
	if first != '-' && !isLookAlike(first) {
		return ""
	}
	option, _, _ := strings.Cut(s, "=")
	return option
}

// isLookAlike reports whether c is a dash, but not the ASCII one: Unicode's
// dashes, and the minus signs and box drawings that look the same.
func isLookAlike(c rune) bool {
	return c > unicode.MaxASCII && (unicode.Is(unicode.Pd, c) || strings.ContainsRune("−⁃˗➖─━╴╶╸╺ー", c))
}
