package systemd

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Format is the value of a property for people to read, in the manner of a unit
// file: systemd.unit(5). It is not meant to be parsed.
func Format(p Property) string {
	switch v := p.Value.Value().(type) {
	case string:
		return v
	case bool:
		if v {
			return "yes"
		}
		return "no"
	case uint64:
		return formatNumber(p.Name, v)
	case []string:
		return quoteAll(v)
	case [][]byte:
		return formatFields(v)
	case []command:
		return formatCommands(v)
	case statusSet:
		return strings.Trim(fmt.Sprint(v.Codes), "[]")
	}
	return fmt.Sprint(p.Value.Value())
}

func formatNumber(name string, v uint64) string {
	switch {
	case v == ^uint64(0):
		return "infinity"
	case strings.HasSuffix(name, "USec") && v < 1<<50:
		return (time.Duration(v) * time.Microsecond).String()
	}
	return strconv.FormatUint(v, 10)
}

func formatFields(fields [][]byte) string {
	words := make([]string, 0, len(fields))
	for _, f := range fields {
		words = append(words, string(f))
	}
	return quoteAll(words)
}

// formatCommands uses the prefixes of systemd.service(5).
func formatCommands(list []command) string {
	words := make([]string, 0, len(list))
	for _, c := range list {
		prefix := ""
		for _, flag := range c.Flags {
			switch flag {
			case flagIgnoreFailure:
				prefix += "-"
			case flagNoEnvExpand:
				prefix += ":"
			}
		}
		words = append(words, prefix+quoteAll(c.Argv))
	}
	return strings.Join(words, " ; ")
}

func quoteAll(words []string) string {
	quoted := make([]string, 0, len(words))
	for _, w := range words {
		quoted = append(quoted, quote(w))
	}
	return strings.Join(quoted, " ")
}

// quote leaves plain words alone, so that most command lines read as typed.
func quote(word string) string {
	special := func(r rune) bool {
		return r <= ' ' || r == '"' || r == '\'' || r == '\\' || r == ';' || !strconv.IsPrint(r)
	}
	if word != "" && strings.IndexFunc(word, special) < 0 {
		return word
	}
	return strconv.Quote(word)
}
