package polkit

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/godbus/dbus/v5"
)

// polkit on the bus: see the reference of the org.freedesktop.PolicyKit1.Authority
// interface in polkit's manual.
const (
	service            = "org.freedesktop.PolicyKit1"
	object             = dbus.ObjectPath("/org/freedesktop/PolicyKit1/Authority")
	authorityInterface = "org.freedesktop.PolicyKit1.Authority"

	allowInteraction = uint32(1) // AllowUserInteraction of CheckAuthorizationFlags
	firstWithPIDFD   = 124       // version of polkit
)

// wireSubject is a subject as polkit wants it: its kind and what identifies it.
type wireSubject struct {
	Kind    string
	Details map[string]dbus.Variant
}

func (s Subject) wire() wireSubject {
	if s.sender != "" {
		return wireSubject{"system-bus-name", map[string]dbus.Variant{"name": dbus.MakeVariant(s.sender)}}
	}
	return wireSubject{"unix-process", map[string]dbus.Variant{
		"pidfd": dbus.MakeVariant(dbus.UnixFDIndex(0)),
		// Always told: polkit would look it up in /proc, where it changes.
		"uid": dbus.MakeVariant(int32(s.uid)),
	}}
}

// verdictOf reads the answer to CheckAuthorization.
func verdictOf(reply *dbus.Call) (Verdict, error) {
	var result struct {
		Authorised, Challenge bool
		Details               map[string]string
	}
	if len(reply.Body) != 1 || reply.Store(&result) != nil || result.Authorised && result.Challenge {
		return Denied, errors.New("its answer makes no sense")
	}
	switch {
	case result.Authorised:
		return Authorised, nil
	case result.Challenge:
		return NeedsAuthentication, nil
	}
	return Denied, nil
}

// translate puts an error of the bus or of polkit into words.
func translate(err error) error {
	if err == nil {
		return nil
	}
	var answer dbus.Error
	if !errors.As(err, &answer) {
		return fmt.Errorf("%w: %w", errBus, err)
	}
	switch answer.Name {
	case "org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner":
		return errors.New("it is not installed on this host, or does not start")
	case "org.freedesktop.DBus.Error.NoReply":
		return errors.New("it went away without an answer")
	}
	return fmt.Errorf("%s: %w", answer.Name, err)
}

// majorVersion reads "126", "126.1" and the like; it is 0 for "0.105".
func majorVersion(version string) int {
	end := 0
	for end < len(version) && '0' <= version[end] && version[end] <= '9' {
		end++
	}
	major, err := strconv.Atoi(version[:end])
	if err != nil {
		return 0
	}
	return major
}
