// Package polkit asks polkit who may do what: org.freedesktop.PolicyKit1 on the
// system bus, CheckAuthorization. The actions are in io.tripleo.sidecar.policy;
// who is allowed what, its defaults and the rules of the host say (polkit(8)).
//
// Whatever goes wrong means no: an answer that is not a clear yes is none. Every
// question has an end, whether or not polkit answers.
//
// Out of scope: what an action is, who is not asked about at all, and agents in
// which people authenticate.
package polkit

import "errors"

// ErrNoPIDFD says that this polkit cannot be asked about a Process.
var ErrNoPIDFD = errors.New("polkit before version 124 cannot tell a process for certain (pidfd)")

// Verdict is polkit's answer. The zero value is Denied.
type Verdict int

// The answers.
const (
	Denied              Verdict = iota
	NeedsAuthentication         // allowed to those who authenticate, and nobody has been asked to
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

// Subject is whom a question is about. The zero value is nobody, who may nothing.
type Subject struct {
	sender  string // of a connection to the bus
	process bool   // it is a process, known by what follows
	pidfd   int
	uid     uint32
}

// BusName is the connection to the system bus that has this unique name. polkit
// asks the bus who that is.
func BusName(sender string) Subject { return Subject{sender: sender} }

// Process is the process that a pidfd refers to, and its user when it connected to
// us (SO_PEERPIDFD and SO_PEERCRED of one socket). polkit before 124 knows no
// pidfds: [ErrNoPIDFD]. The pidfd must stay open while the question is asked.
func Process(pidfd int, uid uint32) Subject {
	return Subject{process: true, pidfd: pidfd, uid: uid}
}

// Request is one question.
type Request struct {
	Subject Subject
	Action  string
	// Details are what rules can look at with action.lookup(KEY).
	Details map[string]string
	// Interactive lets polkit have a person authenticate, which takes as long
	// as people take.
	Interactive bool
}
