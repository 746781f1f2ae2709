package service

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/quota"
	"tripleo.io/sidecar/polkit"
	"tripleo.io/sidecar/service/policy"
	"tripleo.io/sidecar/service/systemd"
)

// The actions that polkit is asked about: polkit/io.tripleo.sidecar.policy.
const (
	actionLaunch  = "io.tripleo.sidecar.launch"
	actionStop    = "io.tripleo.sidecar.stop"
	actionSignal  = "io.tripleo.sidecar.signal"
	actionInspect = "io.tripleo.sidecar.inspect"

	actionNamespace = "io.tripleo.sidecar.namespace"
)

// Values of Authorisation.By.
const (
	ByAgent  = "agent"  // an agent, on its own socket: its file says what it may do
	ByRoot   = "root"   // root, without a question
	ByPolkit = "polkit" // polkit, which is asked about all others
)

// Authorisation says who let a caller in, or did not.
type Authorisation struct {
	By      string // one of ByAgent, ByRoot, ByPolkit; "" if the call was refused before
	Action  string // that polkit was asked about
	Verdict string // polkit's answer, or "failed" if it did not answer; "" if it was not asked
}

// Authority answers for callers that are neither agents nor root. Package polkit
// has the real one and a fake.
type Authority interface {
	// Check asks once. It ends in time; any error means no.
	Check(ctx context.Context, r polkit.Request) (polkit.Verdict, error)
}

// authorise lets in agents and root, and asks polkit about everybody else, by the same
// question on every transport. It comes after the syntax, and before the core looks up
// anything that the caller could learn from. If polkit was asked, call.netns is the network
// namespace that it was told: see checkNamespace.
func (c *Core) authorise(ctx context.Context, call *call) error {
	if call.Caller.Agent != "" {
		call.Authorisation = Authorisation{By: ByAgent}
		return nil
	}
	if call.Caller.UID == 0 {
		call.Authorisation = Authorisation{By: ByRoot}
		return nil
	}
	call.Authorisation = Authorisation{By: ByPolkit, Action: call.action}
	leave, err := c.questions.enter(call.Caller.UID, call.interactive)
	if err != nil {
		return err
	}
	defer leave()
	subject, err := subjectOf(call.Caller)
	if err != nil {
		return err
	}
	details := c.details(ctx, call)
	verdict, err := polkit.Denied, errors.New("the service runs without it")
	if c.Authority != nil {
		verdict, err = c.Authority.Check(ctx, polkit.Request{
			Subject: subject, Action: call.action, Details: details, Interactive: call.interactive,
		})
	}
	if call.Authorisation.Verdict = verdict.String(); err != nil {
		call.Authorisation.Verdict = "failed"
	}
	return refusal(ctx, call.action, verdict, err)
}

// subjectOf returns the caller as polkit can identify it for certain.
func subjectOf(caller Caller) (polkit.Subject, error) {
	switch {
	case caller.Sender != "":
		return polkit.BusName(caller.Sender), nil
	case caller.PIDFD >= 0:
		return polkit.Process(caller.PIDFD, caller.UID), nil
	}
	return polkit.Subject{}, denied("this kernel cannot identify the caller on a socket (SO_PEERPIDFD, Linux 6.5): " + useDBus)
}

// useDBus is the way for callers that the host's socket cannot serve.
const useDBus = "call io.tripleo.Sidecar1 on the system bus instead"

// refusal is the error of a call that polkit does not allow, nil if it does.
func refusal(ctx context.Context, action string, verdict polkit.Verdict, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err() // the caller has left: nothing is done, whatever the answer
	case errors.Is(err, polkit.ErrNoPIDFD):
		return denied(err.Error() + ": " + useDBus)
	case err != nil:
		return denied("polkit: " + err.Error())
	case verdict == polkit.Authorised:
		return nil
	case verdict == polkit.NeedsAuthentication:
		return interfaces.ErrInteractiveAuthenticationRequired
	}
	return denied("polkit does not allow " + action)
}

func denied(reason string) error { return &interfaces.PermissionDeniedError{Reason: reason} }

// details are the facts that rules can use: agent, profile, network-namespace and id, as
// far as they are known. A launch or an Explain without network-namespace is one in the
// host's own.
func (c *Core) details(ctx context.Context, call *call) map[string]string {
	if call.sidecar != nil {
		call.netns = c.namespaceOfSidecar(ctx, *call.sidecar)
	}
	details := map[string]string{"agent": call.Agent, "profile": call.Profile, "id": call.SidecarID}
	if call.netns != nil && policy.ValidNamespace(*call.netns) {
		details["network-namespace"] = *call.netns
	}
	maps.DeleteFunc(details, func(_, value string) bool { return value == "" })
	return details
}

// lookupTime is the shortest time that a look at a sidecar takes. Whether the sidecar exists
// makes a difference of half a millisecond, which a caller could measure.
const lookupTime = 10 * time.Millisecond

// namespaceOfSidecar returns the network namespace in the sidecar's document, or else of its
// launch that waits for its turn. The caller does not learn whether the sidecar exists.
func (c *Core) namespaceOfSidecar(ctx context.Context, id interfaces.ID) *string {
	over := time.After(lookupTime)
	defer func() { <-over }()
	unit, err := c.getOrWaiting(ctx, id)
	if err == nil {
		return documentOf(unit).context.NetworkNamespace
	}
	if launch := c.locks.launching(id); launch != nil {
		return launch.netns
	}
	return nil
}

// errMoved refuses to touch a unit in another network namespace than polkit was told.
var errMoved = denied("the sidecar is in another network namespace than polkit was asked about")

// checkNamespace returns errMoved for a unit in another network namespace than polkit was
// told. A sidecar's ID does not name its namespace: the agent may have launched it again in
// another one meanwhile, or an operator names the pid file of a sidecar elsewhere.
func (c *Core) checkNamespace(call *call, u systemd.Unit) error {
	if call.Authorisation.By == ByPolkit && orEmpty(documentOf(u).context.NetworkNamespace) != orEmpty(call.netns) {
		return errMoved
	}
	return nil
}

// maxAsks is how often polkit is asked about a sidecar that is in another network namespace
// each time.
const maxAsks = 3

// untilNotMoved repeats do, which asks polkit, while the sidecar is not in the network
// namespace that polkit was told: polkit may allow the other one, too.
func untilNotMoved(do func() error) error {
	err := do()
	for asks := 1; asks < maxAsks && errors.Is(err, errMoved); asks++ {
		err = do()
	}
	return err
}

// orEmpty returns the text that s points to, "" for nil.
func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// The bounds of questions to polkit that are open at once, of one user and in all.
// Questions that wait for a person are counted apart: a person can keep them open for
// minutes, and can have many users (subuid(5)).
const (
	quickPerUser       = 8
	quickTotal         = 48
	interactivePerUser = 2
	interactiveTotal   = 16
)

// questions counts the open questions to polkit.
type questions struct{ quick, interactive *quota.Quota[uint32] }

func newQuestions() questions {
	return questions{
		quick:       quota.New[uint32](quickPerUser, quickTotal),
		interactive: quota.New[uint32](interactivePerUser, interactiveTotal),
	}
}

// enter takes a place for one question of the user, which leave gives back.
func (q questions) enter(uid uint32, interactive bool) (leave func(), err error) {
	open, perUser, total := q.quick, quickPerUser, quickTotal
	if interactive {
		open, perUser, total = q.interactive, interactivePerUser, interactiveTotal
	}
	if open.Take(uid, 1) != quota.Taken {
		return nil, &interfaces.OverloadedError{Reason: fmt.Sprintf(
			"too many calls wait for polkit: user %d has %d of at most %d; all users together may have %d",
			uid, open.Held(uid), perUser, total)}
	}
	return func() { open.Release(uid, 1) }, nil
}
