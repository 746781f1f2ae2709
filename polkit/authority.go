package polkit

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/internal/bus"
)

// maxUnanswered is how many questions may be without an answer, those that nobody
// waits for any more among them. The bus counts them too, and takes no calls at all
// from a connection that has more than 128 (max_replies_per_connection of
// dbus-daemon(1)).
const maxUnanswered = 96

// Config says how polkit is reached. The zero value is good.
type Config struct {
	// Address is the D-Bus address, unix:path=PATH; "" is the system bus.
	Address string
	// Timeout bounds a question that no person is asked for. Default 25 s, as
	// D-Bus callers usually wait.
	Timeout time.Duration
	// InteractiveTimeout bounds one for which a person may be asked. Default 2 min.
	InteractiveTimeout time.Duration
}

// Authority is this host's polkit. It has a connection of its own to the bus, made
// for the first question and again when it is lost, so that a polkit that hangs is
// nobody else's trouble. Its methods may be called at the same time.
type Authority struct {
	config     Config
	link       link
	files      bus.Files
	unanswered chan struct{} // one element for each question
	questions  atomic.Uint64
}

// New returns the authority. It does not connect yet: polkit may be absent.
func New(config Config) *Authority {
	if config.Timeout <= 0 {
		config.Timeout = 25 * time.Second
	}
	if config.InteractiveTimeout <= 0 {
		config.InteractiveTimeout = 2 * time.Minute
	}
	a := &Authority{config: config, unanswered: make(chan struct{}, maxUnanswered)}
	a.link = link{
		config: bus.Config{Address: config.Address, Files: &a.files},
		turn:   make(chan struct{}, 1),
	}
	return a
}

// Close ends the connection; open questions end with an error. A later question
// would connect again.
func (a *Authority) Close() { a.link.close() }

// Check asks polkit. With any error the verdict is Denied. If ctx ends, polkit is told
// that nobody wants to know any more, and takes its dialogue away.
//
// When the bus goes in the middle of a question about a process, it is asked again on
// the next bus. One about a bus name is not: the names of the next bus are others'.
func (a *Authority) Check(ctx context.Context, r Request) (Verdict, error) {
	limit := a.config.Timeout
	if r.Interactive {
		limit = a.config.InteractiveTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it has not answered within %v", limit))
	defer cancel()
	if r.Subject == (Subject{}) {
		return Denied, errors.New("nobody is asked about")
	}
	verdict, err := a.ask(ctx, r)
	for again := 1; again < maxBuses && r.Subject.process && errors.Is(err, errBus) && ctx.Err() == nil; again++ {
		verdict, err = a.ask(ctx, r)
	}
	return verdict, err
}

// maxBuses is how many buses in a row a question is asked on. That one goes is rare;
// where each does, the host has other troubles.
const maxBuses = 3

// ask asks polkit once.
func (a *Authority) ask(ctx context.Context, r Request) (Verdict, error) {
	conn, err := a.link.get(ctx)
	if err == nil && r.Subject.process {
		err = a.knowsPIDFDs(ctx, conn)
	}
	if err != nil {
		return Denied, err
	}
	id := strconv.FormatUint(a.questions.Add(1), 10) // unique among those of the connection
	reply, err := a.call(ctx, conn, func(answered chan *dbus.Call) { a.send(conn, r, id, answered) })
	if reply == nil && ctx.Err() != nil {
		conn.Object(service, object).Go(authorityInterface+".CancelCheckAuthorization",
			dbus.FlagNoReplyExpected|dbus.FlagNoAutoStart, nil, id)
	}
	if err != nil {
		return Denied, err
	}
	return verdictOf(reply)
}

// call makes a call and waits for its answer, or for ctx. It is counted until it is
// answered, even if nobody waits for that any more.
func (a *Authority) call(ctx context.Context, conn *dbus.Conn, send func(answered chan *dbus.Call)) (*dbus.Call, error) {
	select {
	case a.unanswered <- struct{}{}:
	default:
		return nil, fmt.Errorf("it has not answered %d questions", maxUnanswered)
	}
	answered := make(chan *dbus.Call, 1)
	send(answered) // not with ctx: godbus would forget the call
	select {
	case reply := <-answered:
		<-a.unanswered
		err := translate(reply.Err)
		if errors.Is(err, errBus) {
			_ = conn.Close() // so that the next question does not take it for good
		}
		return reply, err
	case <-ctx.Done():
	}
	go func() {
		<-answered // of a connection that ends, godbus answers the calls
		<-a.unanswered
	}()
	return nil, context.Cause(ctx)
}

// send sends CheckAuthorization.
func (a *Authority) send(conn *dbus.Conn, r Request, id string, answered chan *dbus.Call) {
	details, flags := r.Details, uint32(0)
	if details == nil {
		details = map[string]string{}
	}
	if r.Interactive {
		flags = allowInteraction
	}
	body := []any{r.Subject.wire(), r.Action, details, flags, id}
	call := &dbus.Message{Type: dbus.TypeMethodCall, Body: body, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldDestination: dbus.MakeVariant(service),
		dbus.FieldPath:        dbus.MakeVariant(object),
		dbus.FieldInterface:   dbus.MakeVariant(authorityInterface),
		dbus.FieldMember:      dbus.MakeVariant("CheckAuthorization"),
		dbus.FieldSignature:   dbus.MakeVariant(dbus.SignatureOf(body...)),
	}}
	if r.Subject.process {
		a.files.Send(context.Background(), conn, call, r.Subject.pidfd, answered)
		return
	}
	conn.Send(call, answered)
}

// knowsPIDFDs returns ErrNoPIDFD for a polkit that is too old.
func (a *Authority) knowsPIDFDs(ctx context.Context, conn *dbus.Conn) error {
	reply, err := a.call(ctx, conn, func(answered chan *dbus.Call) {
		conn.Object(service, object).Go("org.freedesktop.DBus.Properties.Get", 0, answered,
			authorityInterface, "BackendVersion")
	})
	if err != nil {
		return err
	}
	var version string
	if reply.Store(&version) != nil || majorVersion(version) < firstWithPIDFD {
		return fmt.Errorf("%w; this is %.20q", ErrNoPIDFD, version)
	}
	return nil
}
