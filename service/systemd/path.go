package systemd

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/godbus/dbus/v5"
)

// Names of systemd on the bus, from org.freedesktop.systemd1(5).
const (
	destination   = "org.freedesktop.systemd1"
	managerPath   = dbus.ObjectPath("/org/freedesktop/systemd1")
	unitPrefix    = "/org/freedesktop/systemd1/unit/"
	jobPrefix     = "/org/freedesktop/systemd1/job/"
	managerMethod = "org.freedesktop.systemd1.Manager."
	unitMethod    = "org.freedesktop.systemd1.Unit."
)

const hexDigits = "0123456789abcdef"

// unitPath is the object of a unit. systemd writes all but letters and digits,
// and a digit in front, as an underscore and two hex digits: see
// bus_label_escape in its bus-label.c.
func unitPath(name string) dbus.ObjectPath {
	var b strings.Builder
	b.WriteString(unitPrefix)
	for i := range len(name) {
		c := name[i]
		if isLetter(c) || (i > 0 && isDigit(c)) {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('_')
		b.WriteByte(hexDigits[c>>4])
		b.WriteByte(hexDigits[c&15])
	}
	if name == "" {
		b.WriteByte('_')
	}
	return dbus.ObjectPath(b.String())
}

// unitName is the inverse of unitPath; false if the path is not a unit's.
func unitName(path dbus.ObjectPath) (string, bool) {
	label, ok := strings.CutPrefix(string(path), unitPrefix)
	if !ok || label == "" {
		return "", false
	}
	var b strings.Builder
	for i := 0; i < len(label); i++ {
		if label[i] != '_' {
			b.WriteByte(label[i])
			continue
		}
		if i+3 > len(label) {
			return "", false
		}
		c, err := strconv.ParseUint(label[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b.WriteByte(byte(c))
		i += 2
	}
	return b.String(), true
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }

// jobID is the number in the object path of a job.
func jobID(path dbus.ObjectPath) (uint32, error) {
	number, _ := strings.CutPrefix(string(path), jobPrefix)
	id, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("job path %q: %w", path, err)
	}
	return uint32(id), nil
}
