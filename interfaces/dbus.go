package interfaces

import "strings"

// Names of the service on the system bus.
const (
	BusName          = "io.tripleo.Sidecar1"
	ManagerPath      = "/io/tripleo/Sidecar1" // the object with the methods of the varlink interface
	SidecarPrefix    = ManagerPath + "/sidecar/"
	ManagerInterface = BusName + ".Manager"
	SidecarInterface = BusName + ".Sidecar" // of each sidecar's object
)

// Path returns the object path of the sidecar. It escapes '.', '-' and a leading
// digit as systemd does for units: an underscore and two hexadecimal digits.
func (id ID) Path() string {
	var b strings.Builder
	b.WriteString(SidecarPrefix)
	for i, c := range []byte(id.String()) {
		if c == '.' || c == '-' || (i == 0 && c <= '9') {
			b.WriteByte('_')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

const hexDigits = "0123456789abcdef"

// ParsePath returns the ID of the sidecar whose object has this path, and false
// for any other path. Every sidecar has one path only.
func ParsePath(path string) (ID, bool) {
	label, ok := strings.CutPrefix(path, SidecarPrefix)
	if !ok {
		return ID{}, false
	}
	label = strings.NewReplacer("_2e", ".", "_2d", "-").Replace(firstDigit(label))
	id, err := ParseID(label)
	return id, err == nil && id.Path() == path
}

// firstDigit unescapes a leading digit, _30 to _39.
func firstDigit(label string) string {
	if len(label) >= 3 && label[:2] == "_3" && label[2] >= '0' && label[2] <= '9' {
		return label[2:]
	}
	return label
}
