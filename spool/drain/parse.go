package drain

import (
	"errors"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/spool"
)

// parametersOf makes room for the parameters of a method, nil if it is none that a
// request can name.
func parametersOf(method string) any {
	switch method {
	case spool.MethodLaunch:
		return &interfaces.LaunchParameters{}
	case spool.MethodList:
		return &interfaces.ListParameters{}
	case spool.MethodStop:
		return &interfaces.StopParameters{}
	case spool.MethodSignal:
		return &interfaces.SignalParameters{}
	}
	return nil
}

// parse decodes a request strictly: unknown and repeated members, names in other
// letters and what is not UTF-8 are errors. They are of package interfaces.
func parse(text []byte) (parameters any, err error) {
	var call struct {
		Method     string         `json:"method"`
		Parameters jsontext.Value `json:"parameters"`
	}
	if err := decode(text, &call); err != nil {
		return nil, invalid("request", err)
	}
	parameters = parametersOf(call.Method)
	if parameters == nil {
		return nil, &interfaces.MethodNotFoundError{Method: cut(call.Method)}
	}
	if len(call.Parameters) == 0 || call.Parameters.Kind() == 'n' {
		return parameters, nil // missing or null means {}
	}
	if call.Parameters.Kind() != '{' {
		return nil, invalid("parameters", errors.New("must be an object"))
	}
	if err := decode(call.Parameters, parameters); err != nil {
		return nil, invalid("parameters", err)
	}
	return parameters, nil
}

func decode(text []byte, into any) error {
	return json.Unmarshal(text, into, json.RejectUnknownMembers(true))
}

// invalid names the member that is wrong, or else the whole.
func invalid(whole string, err error) error {
	parameter, reason := whole, err.Error()
	var semantic *json.SemanticError
	if errors.As(err, &semantic) && semantic.JSONPointer != "" {
		parameter = cut(strings.TrimPrefix(string(semantic.JSONPointer), "/"))
		reason = describe(semantic)
	}
	return &interfaces.InvalidParameterError{Parameter: parameter, Reason: cut(strings.TrimPrefix(reason, "json: "))}
}

func describe(err *json.SemanticError) string {
	switch {
	case errors.Is(err, json.ErrUnknownName):
		return "no such member"
	case err.GoType != nil:
		return "must be of type " + strings.TrimPrefix(err.GoType.String(), "interfaces.")
	}
	return err.Error()
}

// maxShown cuts what a request's writer chose, in bytes.
const maxShown = 200

func cut(s string) string {
	if len(s) <= maxShown {
		return s
	}
	return strings.ToValidUTF8(s[:maxShown], "") + "…"
}
