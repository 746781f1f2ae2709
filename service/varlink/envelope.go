package varlink

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/go-json-experiment/json/jsontext"
)

// envelope is a varlink call (https://varlink.org/Method-Call).
type envelope struct {
	Method     string          `json:"method"`
	Parameters *jsontext.Value `json:"parameters"`
	More       bool            `json:"more,omitempty"`
	Oneway     bool            `json:"oneway,omitempty"`
	Upgrade    bool            `json:"upgrade,omitempty"`
}

// parseEnvelope checks a frame as strictly as systemd's sd-varlink does, because
// HandleMessage of varlink/go takes Method for method and the last of two. After
// any error of it the connection must end.
func parseEnvelope(frame []byte) (*envelope, error) {
	e := &envelope{}
	if err := decodeObject(frame, reflect.ValueOf(e).Elem()); err != nil {
		return nil, fmt.Errorf("not a varlink call: %w", err)
	}
	if e.Parameters == nil {
		none := jsontext.Value("{}")
		e.Parameters = &none
	}
	if e.Parameters.Kind() != '{' {
		return nil, errors.New("not a varlink call: parameters: must be an object")
	}
	if e.More && e.Oneway {
		return nil, errors.New("not a varlink call: both more and oneway")
	}
	return e, nil
}
