package twin

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/dict"
	"tripleo.io/sidecar/polkit"
	"tripleo.io/sidecar/service"
)

// outcome is all that a call leads to, in a form in which the transports can be
// compared.
type outcome struct {
	Answer    any // of the types of package interfaces
	Error     *failure
	Journal   []entry
	Questions []question
	Effects   effects
}

// failure is an error as it is on the wire.
type failure struct {
	Name       string // on varlink
	Parameters any    // as they are on the wire
}

// failureOf takes an error apart; one that the contract does not have is told by
// its text.
func failureOf(err error) *failure {
	if err == nil {
		return nil
	}
	row, parameters, ok := interfaces.ToWire(err)
	if !ok {
		return &failure{Name: "none of the contract: " + err.Error()}
	}
	if invalid, ok := parameters.(*interfaces.InvalidParameterError); ok {
		// On D-Bus the parameters are options, and have the names of such.
		parameters = &interfaces.InvalidParameterError{Parameter: dict.Option(invalid.Parameter), Reason: invalid.Reason}
	}
	f := &failure{Name: row.Varlink}
	if text, err := json.Marshal(parameters); err == nil { // what is not UTF-8 is U+FFFD from here on
		_ = json.Unmarshal(text, &f.Parameters)
	}
	return f
}

// entry is a decision without what tells the transports apart.
type entry struct {
	Decision service.Decision
	Error    *failure
}

func entriesOf(decisions []service.Decision) []entry {
	var all []entry
	for _, d := range decisions {
		e := entry{d, failureOf(d.Err)}
		e.Decision.Err, e.Decision.Caller.PIDFD, e.Decision.Caller.Sender, e.Decision.Began = nil, 0, "", time.Time{}
		all = append(all, e)
	}
	return all
}

// question is what polkit was asked, but not about whom: see checkSubjects.
type question struct {
	Action      string
	Details     map[string]string
	Interactive bool
}

func questionsOf(requests []polkit.Request) []question {
	var all []question
	for _, r := range requests {
		all = append(all, question{r.Action, r.Details, r.Interactive})
	}
	return all
}

// subjectOf is how a caller must be known to polkit.
func subjectOf(caller service.Caller) polkit.Subject {
	if caller.Sender != "" {
		return polkit.BusName(caller.Sender)
	}
	return polkit.Process(caller.PIDFD, caller.UID)
}

// checkSubjects holds each question to be about the caller that the journal has. A
// caller on the bus is known by its unique name, which is sender if that is known, and
// others by a pidfd.
func checkSubjects(requests []polkit.Request, decisions []service.Decision, onBus bool, sender string) error {
	if len(requests) == 0 {
		return nil
	}
	if len(decisions) == 0 {
		return errors.New("polkit was asked, and the journal has nothing of it")
	}
	caller := decisions[0].Caller
	known := caller.PIDFD >= 0 && caller.Sender == ""
	if onBus {
		known = caller.Sender == sender || caller.Sender != "" && sender == ""
	}
	if !known {
		return fmt.Errorf("the caller is %+v", caller)
	}
	for _, r := range requests {
		if r.Subject != subjectOf(caller) {
			return fmt.Errorf("polkit was asked about %+v, the caller is %+v", r.Subject, caller)
		}
	}
	return nil
}

// differences compares two outcomes. Numbers that systemd's fake draws, and times, are
// there or not there.
func differences(want, got outcome) string {
	return cmp.Diff(want, got, cmpopts.EquateEmpty(), cmp.Transformer("drawn", func(r interfaces.Runtime) drawn {
		known := map[string]bool{
			"invocation": r.InvocationID != nil, "started": r.StartedUSec != nil,
			"ready": r.ReadyUSec != nil, "exited": r.ExitedUSec != nil, "waits": r.WaitsUntilUSec != nil,
		}
		r.InvocationID, r.StartedUSec, r.ReadyUSec, r.ExitedUSec, r.WaitsUntilUSec = nil, nil, nil, nil, nil
		return drawn{fixed(r), known}
	}))
}

// drawn is a Runtime without what is drawn.
type drawn struct {
	Fixed fixed
	Known map[string]bool
}

// fixed is a Runtime that the comparison does not transform again.
type fixed interfaces.Runtime

// interactive returns the parameters with the caller's word that a person can be
// waited for.
func interactive(parameters any) any {
	changed := reflect.New(reflect.TypeOf(parameters)).Elem()
	changed.Set(reflect.ValueOf(parameters))
	changed.FieldByName("AllowInteractiveAuthentication").Set(reflect.ValueOf(new(true)))
	return changed.Interface()
}

// isInteractive reports whether the parameters have that.
func isInteractive(parameters any) bool {
	allowed, _ := reflect.ValueOf(parameters).FieldByName("AllowInteractiveAuthentication").Interface().(*bool)
	return allowed != nil && *allowed
}
