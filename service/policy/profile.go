package policy

import (
	"math"
	"slices"
	"strings"
)

// parseProfile reads a profile's file. What is wrong goes into the report; the
// profile is then not to be used.
func parseProfile(r *report, name string, document []byte) *Profile {
	var raw rawProfile
	if !decode(r, document, &raw) {
		return nil
	}
	p := &Profile{
		Name:         name,
		Description:  r.text("description", raw.Description),
		Image:        r.image(raw.Image),
		Command:      r.command(raw.Command),
		Capabilities: r.capabilities(raw.Capabilities, raw.User != nil),
		User:         r.profileUser(raw.User),
		Environment:  r.environment(raw.Environment),
		PIDNamespace: r.choice("pid-namespace", raw.PIDNamespace, "private", "host"),
		Seccomp:      r.seccomp(raw.Seccomp),
		Syslog:       raw.Syslog == nil || *raw.Syslog,
		Daemonizes:   raw.Daemonizes,
		Restart:      r.choice("restart", raw.Restart, "no", "on-failure", "always"),
		MemoryMax:    r.memory(raw.MemoryMax),
		TasksMax:     uint64(r.number("tasks-max", raw.TasksMax, 1, math.MaxInt32)),
		CPUWeight:    uint64(r.number("cpu-weight", raw.CPUWeight, 1, 10000)),
		Mounts:       r.mounts(raw.Mounts),
	}
	p.Tmpfs = r.tmpfs(raw.Tmpfs, raw.Command)
	if raw.OOMScoreAdjust != nil {
		adjust := int(r.number("oom-score-adjust", raw.OOMScoreAdjust, -1000, 1000))
		p.OOMScoreAdjust = &adjust
	}
	if p.PIDNamespace == "host" {
		r.warnf("pid-namespace", "a root process in the host's pid namespace may signal every root process of the host")
	}
	if p.Daemonizes && p.PIDNamespace == "host" {
		r.errorf("daemonizes", "needs pid-namespace = \"private\": what adopts the program must be the first process of its namespace")
	}
	before := len(r.problems)
	p.arguments, p.rules = r.rules(raw.Arguments, raw.Ignored)
	if len(r.problems) == before { // else what refers to a rule would only be noise
		r.instance(p, raw.Instance)
		r.ready(p, raw.Ready)
		r.configuration(p, raw.Configuration)
	}
	return p
}

// text checks a required line of text.
func (r *report) text(key, s string) string {
	if s == "" {
		r.errorf(key, "is missing")
	} else if reason := checkText(s); reason != "" {
		r.errorf(key, "%s", reason)
	}
	return s
}

func (r *report) image(s string) string {
	const others = "/:@+"
	if r.text("image", s) != "" && (!isAlphanumeric(s[0]) || !isAll(s, func(c byte) bool {
		return isNameByte(c) || strings.IndexByte(others, c) >= 0
	})) {
		r.errorf("image", "%q is no image reference; it looks like localhost/neutron-sidecars:1", s)
	}
	return s
}

func (r *report) command(words []string) []string {
	if len(words) == 0 {
		r.errorf("command", "is missing: the program's path in the image, and fixed arguments")
		return nil
	}
	if reason := checkPath(words[0]); reason != "" {
		r.errorf("command", "the program's path %q: %s", words[0], reason)
	}
	for i, word := range words {
		if reason := checkText(word); reason != "" {
			r.errorf(element("command", i), "%s", reason)
		}
	}
	return words
}

func (r *report) choice(key string, s *string, choices ...string) string {
	if s == nil {
		return choices[0]
	}
	if !slices.Contains(choices, *s) {
		r.errorf(key, "%q is none of %s%s", *s, strings.Join(choices, ", "), didYouMean(*s, choices))
	}
	return *s
}

func (r *report) number(key string, n *int64, least, most int64) int64 {
	if n == nil {
		return 0
	}
	if *n < least || *n > most {
		r.errorf(key, "%d is not between %d and %d", *n, least, most)
	}
	return *n
}

func (r *report) memory(s *string) uint64 {
	const least = 1 << 20
	if s == nil {
		return 0
	}
	size, ok := parseSize(*s)
	switch {
	case !ok:
		r.errorf("memory-max", `%q is no size; it looks like "64M" (K, M, G, T)`, *s)
	case size < least:
		r.errorf("memory-max", "%q is less than 1M", *s)
	}
	return size
}

func (r *report) mounts(entries []string) []ProfileMount {
	var list []ProfileMount
	seen := map[string]bool{}
	if len(entries) > maxMounts-1 { // at least one is left for the instance
		r.errorf("mounts", "has %d entries, %d are accepted", len(entries), maxMounts-1)
	}
	for i, entry := range entries {
		m, err := parseMount(entry)
		if err != nil {
			r.errorf(element("mounts", i), "%v", err)
			continue
		}
		if seen[m.place()] {
			r.errorf(element("mounts", i), "%q is there twice", entry)
		}
		if !m.State && m.Writable {
			r.warnf(element("mounts", i), "every sidecar of this profile may write to %s", m.Path)
		}
		seen[m.place()] = true
		list = append(list, m)
	}
	return list
}
