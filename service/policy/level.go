package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// categories is how many categories an SELinux level can have, from c0 on, in the
// targeted policy and in the reference policy.
const categories = 1024

// categorySet is the set of a level's categories.
type categorySet [categories]bool

// levelOf returns the categories of an agent that names none: two that are derived from its
// name, as podman picks two at random. They are the same on every host and at every launch,
// so an instance may write the files that it wrote before. Another agent has the same ones
// with a chance of one in 523,776; then there is a warning.
func levelOf(agent string) (set categorySet) {
	sum := sha256.Sum256([]byte(agent))
	first := binary.BigEndian.Uint32(sum[:]) % categories
	second := binary.BigEndian.Uint32(sum[4:]) % (categories - 1)
	if second >= first {
		second++
	}
	set[first], set[second] = true, true
	return set
}

var levelPattern = regexp.MustCompile(`^s0:c[0-9]{1,4}(\.c[0-9]{1,4})?(,c[0-9]{1,4}(\.c[0-9]{1,4})?)*$`)

// parseLevel reads a level: s0, and categories or ranges of them. One without categories
// would keep nobody apart.
func parseLevel(level string) (set categorySet, ok bool) {
	if !levelPattern.MatchString(level) {
		return set, false
	}
	for part := range strings.SplitSeq(strings.TrimPrefix(level, "s0:"), ",") {
		from, to, isRange := strings.Cut(part, ".")
		if !isRange {
			to = from
		}
		first, _ := strconv.Atoi(from[1:]) // the pattern has checked it
		last, _ := strconv.Atoi(to[1:])
		if last >= categories || first > last || isRange && first == last {
			return set, false
		}
		for i := first; i <= last; i++ {
			set[i] = true
		}
	}
	return set, true
}

// String returns the level as the kernel writes it: three or more categories in a row are
// a range.
func (set *categorySet) String() string {
	var parts []string
	for i := 0; i < categories; i++ {
		if !set[i] {
			continue
		}
		first := i
		for i+1 < categories && set[i+1] {
			i++
		}
		switch i - first {
		case 0:
			parts = append(parts, fmt.Sprintf("c%d", first))
		case 1:
			parts = append(parts, fmt.Sprintf("c%d", first), fmt.Sprintf("c%d", i))
		default:
			parts = append(parts, fmt.Sprintf("c%d.c%d", first, i))
		}
	}
	return "s0:" + strings.Join(parts, ",")
}

// holds reports whether all of the other's categories are among the set's: then its
// processes may read and write the other's files.
func (set *categorySet) holds(other *categorySet) bool {
	for i, there := range other {
		if there && !set[i] {
			return false
		}
	}
	return true
}

// level reads an agent's SELinux level.
func (r *report) level(agent string, level *string) string {
	set := levelOf(agent)
	if level != nil {
		var ok bool
		if set, ok = parseLevel(*level); !ok {
			r.errorf("selinux-level", `%q is not s0 with categories from c0 to c%d, such as "s0:c100,c200" or "s0:c5.c8"`, *level, categories-1)
		}
	}
	return set.String()
}

// sharedLevels warns of agents that SELinux does not keep apart.
func (s *Set) sharedLevels(reports map[string]*report) []string {
	sets := map[*Agent]categorySet{}
	for _, a := range s.Agents() {
		sets[a], _ = parseLevel(a.SELinuxLevel)
	}
	return s.shared(reports, "selinux-level", "SELinux lets sidecars of this agent read and write files of sidecars of %s, because this agent's level includes all of their categories", func(a, b *Agent) bool {
		own, other := sets[a], sets[b]
		return own.holds(&other)
	})
}
