package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// categories is the number of categories in SELinux's targeted policy and reference
// policy, from c0 on.
const categories = 1024

// categorySet holds the categories of an SELinux level.
type categorySet [categories]bool

// levelOf derives two categories from the name of an agent whose file gives no level.
// podman would pick two at random; these are the same on every host and at every launch,
// so an instance may write the files that it wrote before. Two agents get the same
// categories with a probability of one in 523,776, which sharedLevels warns of.
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

// parseLevel reads a level: s0, and categories or ranges of them. A level without
// categories would not separate agents.
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

// String returns the level as the kernel writes it: three or more consecutive categories
// are a range.
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
		part := fmt.Sprintf("c%d", first)
		switch i - first {
		case 0:
		case 1:
			part += fmt.Sprintf(",c%d", i)
		default:
			part += fmt.Sprintf(".c%d", i)
		}
		parts = append(parts, part)
	}
	return "s0:" + strings.Join(parts, ",")
}

// includes reports whether the set has all categories of the other, so that its
// processes may read and write the other's files.
func (set *categorySet) includes(other *categorySet) bool {
	for i, has := range other {
		if has && !set[i] {
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
	const format = "SELinux lets sidecars of this agent read and write files of sidecars of %s, because this agent's level includes all of their categories"
	return s.shared(reports, "selinux-level", format, func(a, b *Agent) bool {
		own, other := sets[a], sets[b]
		return own.includes(&other)
	})
}
