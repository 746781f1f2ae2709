package server

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/spool"
)

func TestSpoolParse(t *testing.T) {
	t.Parallel()
	cases := map[string]any{
		`{"method":"io.tripleo.Sidecar.Launch","parameters":{"profile":"p","arguments":["","b"],"networkNamespace":"n","processTag":null,"mode":"keep","timeoutUSec":5}}`: &interfaces.LaunchParameters{
			Profile: "p", Arguments: []string{"", "b"}, NetworkNamespace: new("n"), Mode: new(interfaces.ModeKeep), TimeoutUSec: new(int64(5)),
		},
		` { "parameters" : { "id":"x" } , "method" : "io.tripleo.Sidecar.List" } `:         &interfaces.ListParameters{ID: new("x")},
		`{"method":"io.tripleo.Sidecar.Stop","parameters":{"id":"x"}}`:                     &interfaces.StopParameters{ID: "x"},
		`{"method":"io.tripleo.Sidecar.Signal","parameters":{"id":"x","signal":"SIGHUP"}}`: &interfaces.SignalParameters{ID: "x", Signal: "SIGHUP"},
	}
	for text, want := range cases {
		got, err := parse([]byte(text))
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", text, err, diff)
		}
	}
}

// FuzzSpoolRequest shows that a request is refused with an error of the interface,
// or means the same when it is written again.
func FuzzSpoolRequest(f *testing.F) {
	f.Add([]byte(launchText("/k")))
	f.Add([]byte(`{"method":"io.tripleo.Sidecar.List","parameters":null}`))
	f.Add([]byte(`{"method":"io.tripleo.Sidecar.Signal","parameters":{"id":"\ud800","signal":1e400}}`))
	methods := map[reflect.Type]string{
		reflect.TypeFor[*interfaces.LaunchParameters](): spool.MethodLaunch, reflect.TypeFor[*interfaces.ListParameters](): spool.MethodList,
		reflect.TypeFor[*interfaces.StopParameters](): spool.MethodStop, reflect.TypeFor[*interfaces.SignalParameters](): spool.MethodSignal,
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := parse(text)
		if err != nil {
			var detail interfaces.Detail
			if got != nil || !errors.As(err, &detail) || len(err.Error()) > 4*maxShown {
				t.Fatalf("%v with error %v", got, err)
			}
			return
		}
		parameters, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		again, err := json.Marshal(spool.Call{Method: methods[reflect.TypeOf(got)], Parameters: parameters})
		if err != nil {
			t.Fatal(err)
		}
		second, err := parse(again)
		if err != nil || !reflect.DeepEqual(got, second) && !cmp.Equal(normal(got), normal(second)) {
			t.Errorf("%s became %s: %v", text, again, err)
		}
	})
}

// normal makes no difference between no arguments and none.
func normal(parameters any) any {
	if p, ok := parameters.(*interfaces.LaunchParameters); ok && p.Arguments == nil {
		c := *p
		c.Arguments = []string{}
		return &c
	}
	return parameters
}
