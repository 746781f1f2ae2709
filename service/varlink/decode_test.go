package varlink

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
)

func ptr[T any](v T) *T { return &v }

func TestVarlinkDecode(t *testing.T) {
	t.Parallel()
	type launch = interfaces.LaunchParameters
	for in, want := range map[string]launch{
		`{"profile":"p","arguments":[]}`:                    {Profile: "p", Arguments: []string{}},
		` { "arguments" : [ "a" , "" ] , "profile" : "" } `: {Arguments: []string{"a", ""}},
		`{"profile":"p","arguments":["\u00e4\""],"agent":null,"mode":"keep","timeoutUSec":-9223372036854775808,"allowInteractiveAuthentication":false}`: {
			Profile: "p", Arguments: []string{`ä"`}, Mode: ptr(interfaces.ModeKeep),
			TimeoutUSec: ptr(int64(-1 << 63)), AllowInteractiveAuthentication: ptr(false),
		},
	} {
		var got launch
		if err := decodeParameters([]byte(in), &got); err != nil {
			t.Errorf("%s: %v", in, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", in, diff)
		}
	}
}

// TestVarlinkDecodeRefuses shows that every misfit is named, with what would be
// right.
func TestVarlinkDecodeRefuses(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 200)
	for in, want := range map[string]interfaces.InvalidParameterError{
		`{}`:                                                 {Parameter: "profile", Reason: "missing"},
		`{"profile":"p"}`:                                    {Parameter: "arguments", Reason: "missing"},
		`{"profile":null,"arguments":[]}`:                    {Parameter: "profile", Reason: "must be a string"},
		`{"profile":"p","arguments":null}`:                   {Parameter: "arguments", Reason: "must be an array, each element a string"},
		`{"profile":"p","arguments":{}}`:                     {Parameter: "arguments", Reason: "must be an array, each element a string"},
		`{"profile":"p","arguments":["a",null]}`:             {Parameter: "arguments", Reason: "element 1 must be a string"},
		`{"profile":"p","arguments":["a",["b"]]}`:            {Parameter: "arguments", Reason: "element 1 must be a string"},
		`{"profile":1,"arguments":[]}`:                       {Parameter: "profile", Reason: "must be a string"},
		`{"profile":"p","profile":"q","arguments":[]}`:       {Parameter: "profile", Reason: "given twice"},
		`{"profile":"p","pro\u0066ile":"q","arguments":[]}`:  {Parameter: "profile", Reason: "given twice"},
		`{"Profile":"p","arguments":[]}`:                     {Parameter: "Profile", Reason: "no such field; it is spelled profile"},
		`{"profile":"p","arguments":[],"timeoutUsec":1}`:     {Parameter: "timeoutUsec", Reason: "no such field; it is spelled timeoutUSec"},
		`{"profile":"p","arguments":[],"timeoutUSec":1.5}`:   {Parameter: "timeoutUSec", Reason: "must be an integer of 64 bits"},
		`{"profile":"p","arguments":[],"timeoutUSec":1e400}`: {Parameter: "timeoutUSec", Reason: "must be an integer of 64 bits"},
		`{"profile":"p","arguments":[],"timeoutUSec":"1"}`:   {Parameter: "timeoutUSec", Reason: "must be an integer of 64 bits"},
		`{"profile":"p","arguments":[],"mode":0}`:            {Parameter: "mode", Reason: "must be a string"},
		`{"profile":"p","arguments":[],"` + long + `":{"a":1,"a":[[]]}}`: {
			Parameter: long[:maxFieldName] + "…",
			Reason:    "no such field; there are profile, arguments, agent, networkNamespace, processTag, mode, timeoutUSec, replaces, allowInteractiveAuthentication",
		},
		`{"profile":"p","arguments":[],"allowInteractiveAuthentication":"yes"}`: {Parameter: "allowInteractiveAuthentication", Reason: "must be true or false"},
	} {
		var got *interfaces.InvalidParameterError
		if err := decodeParameters([]byte(in), &interfaces.LaunchParameters{}); !errors.As(err, &got) {
			t.Errorf("%s: %v", in, err)
		} else if diff := cmp.Diff(want, *got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", in, diff)
		}
	}
}

// TestVarlinkDecodeKnowsTheContract shows that there is no field in the
// interface's parameters that could never be decoded.
func TestVarlinkDecodeKnowsTheContract(t *testing.T) {
	t.Parallel()
	for _, parameters := range []any{
		interfaces.LaunchParameters{},
		interfaces.ListParameters{},
		interfaces.StopParameters{},
		interfaces.SignalParameters{},
		interfaces.ListProfilesParameters{},
		interfaces.MonitorParameters{},
	} {
		of := reflect.TypeOf(parameters)
		for i := range of.NumField() {
			field := of.Field(i).Type
			if field.Kind() == reflect.Pointer {
				field = field.Elem()
			}
			if strings.Contains(describe(field), "no type of varlink") {
				t.Errorf("%s.%s: %s", of, of.Field(i).Name, describe(field))
			}
		}
	}
}

func TestVarlinkEnvelope(t *testing.T) {
	t.Parallel()
	const m = `{"method":"a.b"`
	for in, ok := range map[string]bool{
		m + `}`: true,
		m + `,"parameters":{},"more":true,"oneway":false,"upgrade":false}`: true,
		m + `,"parameters":null}`:               true,
		m + `,"parameters":{"a":1,"a":2}}`:      true, // the method's decoder refuses it, by name
		` ` + m + `} ` + "\n":                   true,
		``:                                      false,
		`{}`:                                    false,
		`null`:                                  false,
		`[]`:                                    false,
		`{"parameters":{}}`:                     false,
		`{"method":null}`:                       false,
		`{"method":1}`:                          false,
		`{"Method":"a.b"}`:                      false,
		m + `,"method":"a.b"}`:                  false,
		m + `,"METHOD":"a.c"}`:                  false,
		m + `,"parameters":[]}`:                 false,
		m + `,"parameters":"{}"}`:               false,
		m + `,"parameters":{},"parameters":{}}`: false,
		m + `,"more":1}`:                        false,
		m + `,"more":null}`:                     false,
		m + `,"more":true,"oneway":true}`:       false,
		m + `,"id":1}`:                          false,
		m + `}{}`:                               false,
		m + `} x`:                               false,
		m + `,}`:                                false,
		m + "\xff\"}":                           false,
		`{"method":"a.\ud800"}`:                 false,
		m + `,"parameters":{"a":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}}`: false,
	} {
		if _, err := parseEnvelope([]byte(in)); (err == nil) != ok {
			t.Errorf("%.80s: %v", in, err)
		}
	}
}

// FuzzVarlinkDecode shows that what is accepted means the same when it is written
// again: no field is dropped, taken from elsewhere or changed.
func FuzzVarlinkDecode(f *testing.F) {
	f.Add([]byte(`{"profile":"p","arguments":["a"],"agent":null,"mode":"keep","timeoutUSec":1}`))
	f.Add([]byte(`{"Profile":"p","arguments":[null],"timeoutUSec":-0}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var first, second interfaces.LaunchParameters
		if decodeParameters(data, &first) != nil {
			return
		}
		again, err := json.Marshal(first, form)
		if err != nil {
			t.Fatal(err)
		}
		if err := decodeParameters(again, &second); err != nil {
			t.Fatalf("%s became %s, which is refused: %v", data, again, err)
		}
		if diff := cmp.Diff(meaning(t, data), meaning(t, again)); diff != "" || !cmp.Equal(first, second) {
			t.Errorf("%s became %s (-want +got):\n%s", data, again, diff)
		}
	})
}

// meaning is what another JSON decoder reads, without nulls.
func meaning(t *testing.T, data []byte) map[string]any {
	decoder := stdjson.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	m := map[string]any{}
	if err := decoder.Decode(&m); err != nil {
		t.Fatal(err)
	}
	for name, value := range m {
		if value == nil {
			delete(m, name)
		}
		if number, ok := value.(stdjson.Number); ok && number == "-0" {
			m[name] = stdjson.Number("0")
		}
	}
	return m
}

// FuzzVarlinkEnvelope shows that varlink/go, which decodes a frame again, cannot
// read another call out of it than the one that was checked.
func FuzzVarlinkEnvelope(f *testing.F) {
	f.Add([]byte(`{"method":"a.b","parameters":{},"more":true}`))
	f.Add([]byte(`{"method":"a.b","Method":"a.c"}`))
	f.Fuzz(func(t *testing.T, frame []byte) {
		checked, err := parseEnvelope(frame)
		if err != nil {
			return
		}
		var lax struct {
			Method     string              `json:"method"`
			Parameters *stdjson.RawMessage `json:"parameters,omitempty"`
			More       bool                `json:"more,omitempty"`
			Oneway     bool                `json:"oneway,omitempty"`
			Upgrade    bool                `json:"upgrade,omitempty"`
		}
		if err := stdjson.Unmarshal(frame, &lax); err != nil {
			t.Fatalf("accepted, and yet: %v", err)
		}
		if lax.Method != checked.Method || lax.More != checked.More || lax.Oneway != checked.Oneway || lax.Upgrade != checked.Upgrade {
			t.Errorf("checked %+v, read %+v", checked, lax)
		}
		if lax.Parameters != nil && !bytes.Equal(*lax.Parameters, *checked.Parameters) {
			t.Errorf("checked parameters %s, read %s", *checked.Parameters, *lax.Parameters)
		}
	})
}
