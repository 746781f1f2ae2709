package service

import (
	"context"
	"errors"
	"time"

	"tripleo.io/sidecar/interfaces"
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
)

// Who lets a caller in.
const (
	ByAgent  = "agent"  // the agent's file, which holds everybody on the agent's socket
	ByRoot   = "root"   // nobody is asked: the caller is root
	ByPolkit = "polkit" // polkit is asked, for all others
)

// Authorisation says who let a caller in, or did not.
type Authorisation struct {
	By      string // one of ByAgent, ByRoot, ByPolkit; "" if the call was refused before
	Action  string // that polkit was asked about
	Verdict string // its answer, or "failed" if there was none; "" if it was not asked
}

// Authority answers for callers that are neither agents nor root. Package polkit
// has the real one and a fake.
type Authority interface {
	// Check asks once. It ends in time; any error means no.
	Check(ctx context.Context, r polkit.Request) (polkit.Verdict, error)
}

// question is what polkit is asked about a call, if it is asked.
type question struct {
	action      string
	about       subject
	netns       *string        // the namespace that the call names or comes from
	recorded    *interfaces.ID // the sidecar whose namespace it is otherwise
	interactive *bool
}

// authorise lets in agents, which their own policy holds, and root. Of everybody
// else polkit is asked, by the same question on every transport. It comes after
// the syntax, and before anything is looked up that the caller could learn from.
// The namespace that polkit was told is in q.netns then: see sameAsTold.
func (c *Core) authorise(ctx context.Context, caller Caller, q *question) (Authorisation, error) {
	switch {
	case caller.Agent != "":
		return Authorisation{By: ByAgent}, nil
	case caller.UID == 0:
		return Authorisation{By: ByRoot}, nil
	}
	auth := Authorisation{By: ByPolkit, Action: q.action}
	// For who may have left nobody is asked: a person must know for whom a yes is.
	interactive := q.interactive != nil && *q.interactive && !caller.Oneway
	leave, err := c.questions.enter(caller.UID, interactive)
	if err != nil {
		return auth, err
	}
	defer leave()
	who, err := polkitSubject(caller)
	if err != nil {
		return auth, err
	}
	verdict, err := c.check(ctx, polkit.Request{
		Subject: who, Action: q.action, Details: c.details(ctx, q), Interactive: interactive,
	})
	if auth.Verdict = verdict.String(); err != nil {
		auth.Verdict = "failed"
	}
	return auth, refusal(ctx, q.action, verdict, err)
}

func (c *Core) check(ctx context.Context, r polkit.Request) (polkit.Verdict, error) {
	if c.Authority == nil {
		return polkit.Denied, errors.New("it is not in use here")
	}
	return c.Authority.Check(ctx, r)
}

// polkitSubject is the caller as polkit can know it for certain.
func polkitSubject(caller Caller) (polkit.Subject, error) {
	switch {
	case caller.Sender != "":
		return polkit.BusName(caller.Sender), nil
	case caller.PIDFD >= 0:
		return polkit.Process(caller.PIDFD, caller.UID), nil
	}
	return polkit.Subject{}, denied("this kernel does not say for certain who is at the other end of a socket (SO_PEERPIDFD, Linux 6.5): " + useDBus)
}

// useDBus is what those can do whom the host's socket cannot serve.
const useDBus = "call io.tripleo.Sidecar1 on the system bus instead"

// refusal is the error of a call that polkit does not allow, nil if it does.
func refusal(ctx context.Context, action string, verdict polkit.Verdict, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err() // nobody waits any more: nothing is done, whatever the answer
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

// details are what rules can look at: agent, profile, network-namespace and id, as
// far as they are known. A launch or its explanation without network-namespace is
// one in the host's own.
func (c *Core) details(ctx context.Context, q *question) map[string]string {
	details := map[string]string{}
	for key, value := range map[string]string{"agent": q.about.agent, "profile": q.about.profile, "id": q.about.id} {
		if value != "" {
			details[key] = value
		}
	}
	if q.recorded != nil {
		q.netns = c.recordedNamespace(ctx, *q.recorded)
	}
	if q.netns != nil && policy.ValidNamespace(*q.netns) {
		details["network-namespace"] = *q.netns
	}
	return details
}

// lookupTime is how long the look at a sidecar takes at least. Whether there is one
// makes a difference of half a millisecond, which patience could measure.
const lookupTime = 10 * time.Millisecond

// recordedNamespace is the network namespace of a sidecar, as far as its record
// says, or else of the launch that waits for its turn. Whether there is a sidecar the
// caller does not learn from it.
func (c *Core) recordedNamespace(ctx context.Context, id interfaces.ID) *string {
	over := time.After(lookupTime)
	defer func() { <-over }()
	unit, err := c.Units.Get(ctx, id.Unit())
	if err == nil {
		return c.records.of(unit).context.NetworkNamespace
	}
	if launch := c.locks.launching(id); launch != nil {
		return launch.netns
	}
	return nil
}

// errMoved is the refusal to touch a unit in another network namespace than polkit was
// told.
var errMoved = denied("the sidecar is in another network namespace than polkit was asked about")

// sameAsTold returns errMoved for a unit in another network namespace than polkit was
// told. The ID of a sidecar does not say in which it is: the agent may have launched
// it, or launched it anew, in another one since, or an operator names the pid file of
// one elsewhere.
func (c *Core) sameAsTold(s subject, u systemd.Unit) error {
	if s.by.By != ByPolkit {
		return nil
	}
	if text(c.records.of(u).context.NetworkNamespace) != text(s.netns) {
		return errMoved
	}
	return nil
}

// maxAsks is how often polkit is asked about a sidecar that is somewhere else each
// time.
const maxAsks = 3

// whereverItIs has polkit asked anew, and all else done again, if a sidecar was not
// where polkit was told. That is no reason for a refusal: it may have been launched in
// between, and polkit may allow that as well.
func whereverItIs(do func() error) error {
	err := do()
	for asks := 1; asks < maxAsks && errors.Is(err, errMoved); asks++ {
		err = do()
	}
	return err
}
