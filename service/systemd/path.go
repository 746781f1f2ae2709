package systemd

import (
	"fmt"
	"net/url"
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

// unitPath is the object path of a unit. systemd writes all bytes but letters and digits,
// and a digit in front, as an underscore and two hex digits (bus_label_escape in its
// bus-label.c). go-systemd's PathBusEscape writes one digit for a byte below 16.
func unitPath(name string) dbus.ObjectPath {
	var b strings.Builder
	b.WriteString(unitPrefix)
	for i, c := range []byte(name) {
		switch {
		case c|0x20 >= 'a' && c|0x20 <= 'z', i > 0 && c >= '0' && c <= '9':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "_%02x", c)
		}
	}
	if name == "" {
		b.WriteByte('_')
	}
	return dbus.ObjectPath(b.String())
}

// unitName is the inverse of unitPath; false if the path is not a unit's.
func unitName(path dbus.ObjectPath) (string, bool) {
	label, ok := strings.CutPrefix(string(path), unitPrefix)
	name, err := url.PathUnescape(strings.ReplaceAll(label, "_", "%"))
	return name, ok && name != "" && err == nil
}

// jobID is the number in the object path of a job.
func jobID(path dbus.ObjectPath) (uint32, error) {
	id, err := strconv.ParseUint(strings.TrimPrefix(string(path), jobPrefix), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("job path %q: %w", path, err)
	}
	return uint32(id), nil
}
