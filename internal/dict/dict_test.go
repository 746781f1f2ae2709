package dict_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/dict"
)

func known[T any](v T) *T { return &v }

// overTheWire sends a dictionary through D-Bus's encoding.
func overTheWire(t testing.TB, entries map[string]dbus.Variant) map[string]dbus.Variant {
	t.Helper()
	m := &dbus.Message{Type: dbus.TypeMethodReply, Body: []any{entries}, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldReplySerial: dbus.MakeVariant(uint32(1)),
		dbus.FieldSignature:   dbus.MakeVariant(dbus.SignatureOf(entries)),
	}}
	var b bytes.Buffer
	if err := m.EncodeTo(&b, binary.LittleEndian); err != nil {
		t.Fatal(err)
	}
	read, err := dbus.DecodeMessage(&b)
	if err != nil {
		t.Fatal(err)
	}
	return read.Body[0].(map[string]dbus.Variant)
}

func TestDBusDictionaryOfASidecar(t *testing.T) {
	t.Parallel()
	full := interfaces.Sidecar{
		ID: "a.b.000000000000",
		Context: &interfaces.Context{
			Profile: "b", Arguments: []string{"-x", "", "ü"}, Agent: "a",
			NetworkNamespace: known("qdhcp-1"), ProcessTag: known("tag"),
		},
		Runtime: interfaces.Runtime{
			State: interfaces.StateFailed, Unit: "u", InvocationID: known("i"), Engine: "e", OCIRuntime: known("/r"),
			Image: "im", ImageID: known("d"), ImageOutdated: true,
			ProcessID: known(int64(4194304)), StartedUSec: known(int64(math.MaxInt64)), ReadyUSec: known(int64(2)),
			ExitedUSec: known(int64(3)), Restarts: 7, ExitCode: known(int64(255)), ExitSignal: known("SIGKILL"),
		},
	}
	bare := interfaces.Sidecar{ID: "a.b.000000000000", Runtime: interfaces.Runtime{State: interfaces.StateStarting}}
	for name, want := range map[string]interfaces.Sidecar{"full": full, "bare": bare} {
		var got interfaces.Sidecar
		if err := dict.Decode(overTheWire(t, dict.Encode(want)), &got); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	signatures := map[string]string{}
	for key, v := range dict.Encode(full) {
		signatures[key] = v.Signature().String()
	}
	if d := cmp.Diff(map[string]string{
		"Id": "s", "Profile": "s", "Arguments": "as", "Agent": "s", "NetworkNamespace": "s", "ProcessTag": "s",
		"State": "s", "Unit": "s", "InvocationId": "s", "Engine": "s", "OciRuntime": "s", "Image": "s", "ImageId": "s", "ImageOutdated": "b", "Frozen": "b", "ProcessId": "u",
		"StartedUSec": "t", "ReadyUSec": "t", "ExitedUSec": "t", "Restarts": "u", "ExitCode": "i", "ExitSignal": "s",
	}, signatures); d != "" {
		t.Errorf("types (-want +got):\n%s", d)
	}
}

func TestDBusDictionaryOfAnExplanation(t *testing.T) {
	t.Parallel()
	want := interfaces.ExplainReply{
		ID: "i", Unit: "u", Image: "im", Command: []string{"c", "-d"}, Rules: []string{},
		Properties:    []interfaces.UnitProperty{{Name: "Type", Value: "notify"}, {Name: "Slice", Value: "s"}},
		EngineCommand: []string{"/usr/bin/podman", "run"}, Document: []interfaces.UnitProperty{{Name: "user", Value: "1"}},
	}
	var got interfaces.ExplainReply
	if err := dict.Decode(overTheWire(t, dict.Encode(&want)), &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestDBusDictionaryOfErrors holds the parameters of every error to survive.
func TestDBusDictionaryOfErrors(t *testing.T) {
	t.Parallel()
	for _, row := range interfaces.Errors {
		if row.New == nil {
			continue
		}
		want := row.New()
		fill(reflect.ValueOf(want).Elem())
		got := row.New()
		if err := dict.Decode(overTheWire(t, dict.Encode(want)), got); err != nil {
			t.Errorf("%s: %v", row.DBus, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", row.DBus, d)
		}
	}
}

func fill(v reflect.Value) {
	for i := range v.NumField() {
		f := v.Field(i)
		if f.Kind() == reflect.Pointer {
			f.Set(reflect.New(f.Type().Elem()))
			f = f.Elem()
		}
		switch f.Kind() {
		case reflect.String:
			f.SetString("text")
		case reflect.Int64:
			f.SetInt(12)
		case reflect.Slice:
			f.Set(reflect.ValueOf([]string{"one", "two"}))
		}
	}
}

func TestDBusOptions(t *testing.T) {
	t.Parallel()
	var got interfaces.LaunchParameters
	err := dict.Options(map[string]dbus.Variant{
		"agent": dbus.MakeVariant("a"), "network-namespace": dbus.MakeVariant("n"), "process-tag": dbus.MakeVariant("t"),
		"mode": dbus.MakeVariant("keep"), "timeout-usec": dbus.MakeVariant(uint64(5)),
	}, &got, "allowInteractiveAuthentication")
	if err != nil {
		t.Fatal(err)
	}
	want := interfaces.LaunchParameters{
		Agent: known("a"), NetworkNamespace: known("n"), ProcessTag: known("t"),
		Mode: known(interfaces.ModeKeep), TimeoutUSec: known(int64(5)),
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestDBusOptionsThereAndBack(t *testing.T) {
	t.Parallel()
	for _, want := range []interfaces.LaunchParameters{
		{},
		{Agent: known(""), TimeoutUSec: known(int64(0))},
		{
			Agent: known("a"), NetworkNamespace: known("n"), ProcessTag: known("t"),
			Mode: known(interfaces.ModeKeep), TimeoutUSec: known(int64(5)),
		},
	} {
		asked := want
		asked.Profile, asked.AllowInteractiveAuthentication = "p", known(true)
		var got interfaces.LaunchParameters
		entries := overTheWire(t, dict.EncodeOptions(asked, "allowInteractiveAuthentication"))
		if err := dict.Options(entries, &got, "allowInteractiveAuthentication"); err != nil {
			t.Error(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	}
}

func TestDBusOptionsThatAreWrong(t *testing.T) {
	t.Parallel()
	const all = "no such option; there are: agent, network-namespace, process-tag, mode, timeout-usec, replaces"
	cases := map[string]struct {
		key, reason string
		value       any
	}{
		"unknown":            {"agents", all, "a"},
		"capitals":           {"Agent", all, "a"},
		"varlink's name":     {"networkNamespace", all, "a"},
		"not an option":      {"profile", all, "a"},
		"the message's flag": {"allow-interactive-authentication", all, true},
		"number for text":    {"agent", "is of type u, must be s", uint32(1)},
		"path for text":      {"agent", "is of type o, must be s", dbus.ObjectPath("/")},
		"text for a number":  {"timeout-usec", "is of type s, must be t", "5s"},
		"double":             {"timeout-usec", "is of type d, must be t", 5.0},
		"boolean":            {"timeout-usec", "is of type b, must be t", true},
		"descriptor":         {"timeout-usec", "is of type h, must be t", dbus.UnixFDIndex(0)},
		"variant":            {"timeout-usec", "is of type v, must be t", dbus.MakeVariant(uint64(1))},
		"too large":          {"timeout-usec", "18446744073709551615 is too large", uint64(math.MaxUint64)},
		"array":              {"mode", "is of type as, must be s", []string{"keep"}},
	}
	for name, c := range cases {
		var p interfaces.LaunchParameters
		err := dict.Options(map[string]dbus.Variant{c.key: dbus.MakeVariant(c.value)}, &p, "allowInteractiveAuthentication")
		var wrong *dict.FieldError
		if !errors.As(err, &wrong) || wrong.Key != c.key || wrong.Reason != c.reason {
			t.Errorf("%s: %v, want %s: %s", name, err, c.key, c.reason)
		}
	}
	var none interfaces.SignalParameters
	err := dict.Options(map[string]dbus.Variant{strings.Repeat("ü", 1000): dbus.MakeVariant("")}, &none, "allowInteractiveAuthentication")
	if err == nil || !strings.HasSuffix(err.Error(), "…: no options are allowed here") || len(err.Error()) > 120 {
		t.Errorf("no options: %v", err)
	}
}

func TestDBusIntegersOfAnyType(t *testing.T) {
	t.Parallel()
	for _, value := range []any{byte(7), int16(7), uint16(7), int32(7), uint32(7), int64(7), uint64(7)} {
		var p interfaces.StopParameters
		err := dict.Options(map[string]dbus.Variant{"timeout-usec": dbus.MakeVariant(value)}, &p)
		if err != nil || p.TimeoutUSec == nil || *p.TimeoutUSec != 7 {
			t.Errorf("%T: %v, %v", value, p.TimeoutUSec, err)
		}
	}
}

func TestDBusDictionaryOfWhatIsNoText(t *testing.T) {
	t.Parallel()
	var got interfaces.LaunchFailedError
	entries := dict.Encode(interfaces.LaunchFailedError{Output: []string{"a\xffb", "c\x00d"}, ExitSignal: known("\xff")})
	if err := dict.Decode(overTheWire(t, entries), &got); err != nil {
		t.Fatal(err)
	}
	want := interfaces.LaunchFailedError{Output: []string{"a\uFFFDb", "c\uFFFDd"}, ExitSignal: known("\uFFFD")}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
