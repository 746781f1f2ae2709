package polkit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/internal/bus"
)

const (
	// maxUnanswered bounds the questions without an answer, abandoned ones included. The
	// bus refuses all calls of a connection with more than 128 of them
	// (max_replies_per_connection of dbus-daemon(1)).
	maxUnanswered = 96
	// maxAttempts is how often a question is asked when the bus ends in the middle of it.
	maxAttempts = 3
)

// Config says how to reach polkit. The zero value is good.
type Config struct {
	// Address is the D-Bus address, unix:path=PATH; "" is the system bus.
	Address string
	// Timeout bounds a question without interaction. Default 25 s, D-Bus's usual time-out.
	Timeout time.Duration
	// InteractiveTimeout bounds a question for which a person may be asked. Default 2 min.
	InteractiveTimeout time.Duration
}

// Authority is this host's polkit. It has its own connection to the bus, so that a polkit
// that hangs delays nobody else. A question connects if there is no connection. Methods
// may be called concurrently.
type Authority struct {
	config     Config
	files      bus.Files
	unanswered chan struct{} // one element for each question
	questions  atomic.Uint64

	dialling chan struct{} // has an element while a goroutine uses conn
	conn     *dbus.Conn    // nil before the first question
}

// New returns the authority. It does not connect: polkit may be absent.
func New(config Config) *Authority {
	config.Timeout = cmp.Or(max(config.Timeout, 0), 25*time.Second)
	config.InteractiveTimeout = cmp.Or(max(config.InteractiveTimeout, 0), 2*time.Minute)
	return &Authority{
		config:     config,
		unanswered: make(chan struct{}, maxUnanswered),
		dialling:   make(chan struct{}, 1),
	}
}

// Close ends the connection; open questions end with an error. A later question connects
// again.
func (a *Authority) Close() {
	a.dialling <- struct{}{}
	defer func() { <-a.dialling }()
	if a.conn != nil {
		_ = a.conn.Close()
	}
}

// connect returns the connection, and dials if the connection does not exist or is lost.
func (a *Authority) connect(ctx context.Context) (*dbus.Conn, error) {
	select {
	case a.dialling <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-a.dialling }()
	if a.conn != nil && a.conn.Context().Err() == nil {
		return a.conn, nil
	}
	conn, err := bus.Dial(ctx, bus.Config{Address: a.config.Address, Files: &a.files})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBus, err)
	}
	a.conn = conn
	return conn, nil
}

// Check asks polkit. With any error the verdict is Denied. If ctx ends, the question is
// cancelled, and polkit closes its dialogue.
//
// If the bus ends in the middle of a question about a process, Check asks again on the next
// bus. It does not for a bus name, which may belong to somebody else there.
func (a *Authority) Check(ctx context.Context, r Request) (Verdict, error) {
	limit := a.config.Timeout
	if r.Interactive {
		limit = a.config.InteractiveTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it has not answered within %v", limit))
	defer cancel()
	if r.Subject == (Subject{}) {
		return Denied, errors.New("the question has no subject")
	}
	for attempt := 1; ; attempt++ {
		verdict, err := a.ask(ctx, r)
		if attempt == maxAttempts || !r.Subject.process || !errors.Is(err, errBus) || ctx.Err() != nil {
			return verdict, err
		}
	}
}

// ask asks polkit once.
func (a *Authority) ask(ctx context.Context, r Request) (Verdict, error) {
	conn, err := a.connect(ctx)
	if err == nil && r.Subject.process {
		err = a.checkVersion(ctx, conn)
	}
	if err != nil {
		return Denied, err
	}
	id := strconv.FormatUint(a.questions.Add(1), 10) // unique on the connection
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

// call makes a call and waits for its answer, or for ctx. The call counts until it is
// answered, even after ctx.
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
			_ = conn.Close() // so that the next question dials
		}
		return reply, err
	case <-ctx.Done():
	}
	go func() {
		<-answered // godbus answers the calls of a connection that ends
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

// checkVersion returns ErrNoPIDFD for a polkit that is too old.
func (a *Authority) checkVersion(ctx context.Context, conn *dbus.Conn) error {
	reply, err := a.call(ctx, conn, func(answered chan *dbus.Call) {
		conn.Object(service, object).Go("org.freedesktop.DBus.Properties.Get", 0, answered,
			authorityInterface, "BackendVersion")
	})
	if err != nil {
		return err
	}
	var version string
	major := 0 // of "0.105", too
	if reply.Store(&version) == nil {
		_, _ = fmt.Sscanf(version, "%d", &major)
	}
	if major < firstWithPIDFD {
		return fmt.Errorf("%w; this is %.20q", ErrNoPIDFD, version)
	}
	return nil
}
