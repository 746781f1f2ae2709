package interfaces

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
)

const (
	unitPrefix = "sidecar-"
	unitSuffix = ".service"
)

// UnitPattern matches the units of all sidecars (systemd's ListUnitsByPatterns).
const UnitPattern = unitPrefix + "*.*.*" + unitSuffix

var (
	validName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)
	validHash = regexp.MustCompile(`^[0-9a-f]{12}$`)
)

// ValidName reports whether s can be the name of an agent or of a profile:
// 1 to 32 of a-z, 0-9 and '-', not starting with '-'. Such a name is safe in a
// unit's name, a file's name and a container's name.
func ValidName(s string) bool { return validName.MatchString(s) }

// ID identifies a sidecar on a host.
type ID struct {
	Agent   string
	Profile string
	Hash    string // 12 hexadecimal digits
}

// NewID returns the ID of the profile's instance with this key. The names must be
// valid.
func NewID(agent, profile, key string) ID {
	sum := sha256.Sum256([]byte(key))
	return ID{agent, profile, hex.EncodeToString(sum[:6])}
}

// ParseID parses AGENT.PROFILE.HASH.
func ParseID(s string) (ID, error) {
	parts := strings.Split(s, ".")
	if len(parts) != 3 || !ValidName(parts[0]) || !ValidName(parts[1]) || !validHash.MatchString(parts[2]) {
		return ID{}, fmt.Errorf("%.80q is not AGENT.PROFILE.HASH, HASH being 12 hexadecimal digits", s)
	}
	return ID{parts[0], parts[1], parts[2]}, nil
}

// ParseUnit returns the ID of the sidecar whose unit has this name, and false
// for any other unit.
func ParseUnit(unit string) (ID, bool) {
	s, ok := strings.CutPrefix(unit, unitPrefix)
	if !ok {
		return ID{}, false
	}
	if s, ok = strings.CutSuffix(s, unitSuffix); !ok {
		return ID{}, false
	}
	id, err := ParseID(s)
	return id, err == nil
}

// Compare orders IDs by agent, profile and hash, as cmp.Compare does.
func (id ID) Compare(other ID) int {
	return cmp.Or(
		strings.Compare(id.Agent, other.Agent),
		strings.Compare(id.Profile, other.Profile),
		strings.Compare(id.Hash, other.Hash),
	)
}

func (id ID) String() string { return id.Agent + "." + id.Profile + "." + id.Hash }

// Unit returns the name of the sidecar's systemd unit.
func (id ID) Unit() string { return unitPrefix + id.String() + unitSuffix }

// Container returns the name of the sidecar's container: the unit's name without
// its suffix.
func (id ID) Container() string { return unitPrefix + id.String() }
