// Package polkit asks polkit who may do what: CheckAuthorization of
// org.freedesktop.PolicyKit1 on the system bus. The actions are in
// io.tripleo.sidecar.policy; their defaults and the host's rules decide (polkit(8)).
//
// Everything but a clear yes is a no, and every question ends, whether or not polkit
// answers.
//
// Out of scope: what an action means, callers for whom polkit is not asked, and polkit's
// authentication agents.
package polkit

import (
	"context"
	"errors"
	"fmt"

	"github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/internal/bus"
)

// ErrNoPIDFD says that this polkit cannot be asked about a Process.
var ErrNoPIDFD = errors.New("polkit before version 124 cannot identify a process safely (pidfd)")

// Verdict is polkit's answer. The zero value is Denied.
type Verdict int

// The answers.
const (
	Denied              Verdict = iota
	NeedsAuthentication         // allowed after authentication, which Interactive did not permit
	Authorised
)

// String is a word for people and the journal.
func (v Verdict) String() string {
	switch v {
	case Authorised:
		return "authorised"
	case NeedsAuthentication:
		return "needs-authentication"
	}
	return "denied"
}

// Subject is whom a question is about. The zero value is nobody, and is always denied.
type Subject struct {
	sender  string // of a connection to the bus
	process bool   // the subject is the process of pidfd and uid
	pidfd   int
	uid     uint32
}

// BusName is the connection to the system bus that has this unique name. polkit asks the
// bus for its user and process.
func BusName(sender string) Subject { return Subject{sender: sender} }

// Process is the process of a pidfd, and its user when it connected (SO_PEERPIDFD and
// SO_PEERCRED of one socket). polkit before 124 does not know pidfds: [ErrNoPIDFD]. The
// pidfd must stay open while polkit is asked.
func Process(pidfd int, uid uint32) Subject {
	return Subject{process: true, pidfd: pidfd, uid: uid}
}

// Request is one question.
type Request struct {
	Subject Subject
	Action  string
	// Details are read by rules with action.lookup(KEY).
	Details map[string]string
	// Interactive lets polkit ask a person to authenticate, which takes as long as people
	// take.
	Interactive bool
}

// Fake is Authority for tests.
type Fake struct {
	// Answer answers every question. nil: everything is denied.
	Answer func(context.Context, Request) (Verdict, error)
}

// Check is Authority.Check.
func (f *Fake) Check(ctx context.Context, r Request) (Verdict, error) {
	if f.Answer == nil {
		return Denied, nil
	}
	return f.Answer(ctx, r)
}

// polkit on the bus: see the reference of the org.freedesktop.PolicyKit1.Authority
// interface in polkit's manual.
const (
	service            = "org.freedesktop.PolicyKit1"
	object             = dbus.ObjectPath("/org/freedesktop/PolicyKit1/Authority")
	authorityInterface = "org.freedesktop.PolicyKit1.Authority"

	allowInteraction = uint32(1) // AllowUserInteraction of CheckAuthorizationFlags
	firstWithPIDFD   = 124       // version of polkit
)

// wireSubject is (sa{sv}): the kind of a subject, and its identity.
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
		// Otherwise polkit would look the user up in /proc, where it can change.
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

// errBus says that the connection to the bus failed, and not polkit.
var errBus = errors.New("the bus")

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
	case bus.ErrorPrefix + "ServiceUnknown", bus.ErrorPrefix + "NameHasNoOwner":
		return errors.New("it is not installed on this host, or does not start")
	case bus.ErrorPrefix + "NoReply":
		return errors.New("it went away without an answer")
	}
	return fmt.Errorf("%s: %w", answer.Name, err)
}
