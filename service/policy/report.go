package policy

import (
	"fmt"
	"strings"
)

// report collects what is wrong with one file, so that an administrator sees
// all of it at once.
type report struct {
	file     string
	lines    map[string]int // line of each key, from 1
	problems []error
	warnings []string
}

func (r *report) errorf(key, format string, args ...any) {
	r.problems = append(r.problems, fmt.Errorf("%s: %s", r.at(key), fmt.Sprintf(format, args...)))
}

func (r *report) warnf(key, format string, args ...any) {
	r.warnings = append(r.warnings, r.at(key)+": "+fmt.Sprintf(format, args...))
}

// at returns "file:line: key". A key that is not in the file is shown at the
// line of the key that it would be in, else at the first.
func (r *report) at(key string) string {
	for k := key; ; k = parentKey(k) {
		if line, ok := r.lines[k]; ok {
			return fmt.Sprintf("%s:%d: %s", r.file, line, key)
		}
		if k == "" {
			return fmt.Sprintf("%s:1: %s", r.file, key)
		}
	}
}

// parentKey returns "a.b" for "a.b[3]", "a" for "a.b", and "" for "a".
func parentKey(key string) string {
	if i := strings.LastIndexAny(key, ".["); i >= 0 {
		return key[:i]
	}
	return ""
}

// element names the i-th element of a list.
func element(key string, i int) string {
	return fmt.Sprintf("%s[%d]", key, i)
}
