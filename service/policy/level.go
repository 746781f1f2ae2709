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

// levelOf returns the SELinux level of an agent that names none: two categories of its
// name, as podman picks two at random. It is the same on every host and at every launch,
// so an instance may write the files that it wrote before. Another agent has the same one
// with a chance of one in 523,776; then there is a warning.
func levelOf(agent string) string {
	sum := sha256.Sum256([]byte(agent))
	first := binary.BigEndian.Uint32(sum[:]) % categories
	second := binary.BigEndian.Uint32(sum[4:]) % (categories - 1)
	if second >= first {
		second++
	}
	return fmt.Sprintf("s0:c%d,c%d", min(first, second), max(first, second))
}

var levelPattern = regexp.MustCompile(`^s0:c[0-9]{1,4}([,.]c[0-9]{1,4})*$`)

// level reads an agent's SELinux level. One without categories would keep nobody apart.
func (r *report) level(agent string, level *string) string {
	if level == nil {
		return levelOf(agent)
	}
	ok := levelPattern.MatchString(*level)
	for number := range strings.FieldsFuncSeq(strings.TrimPrefix(*level, "s0"), func(c rune) bool { return c < '0' || c > '9' }) {
		if n, err := strconv.Atoi(number); err != nil || n >= categories {
			ok = false
		}
	}
	if !ok {
		r.errorf("selinux-level", `%q is not s0 with categories from c0 to c%d, such as "s0:c100,c200"`, *level, categories-1)
	}
	return *level
}

// sameLevel warns of agents that SELinux does not keep apart.
func (s *Set) sameLevel(reports map[string]*report) []string {
	return s.alike(reports, "selinux-level", "SELinux does not keep this agent's sidecars apart from those of %s: the level is the same", func(a, b *Agent) bool {
		return a.SELinuxLevel == b.SELinuxLevel
	})
}
