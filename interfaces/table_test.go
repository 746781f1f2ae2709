package interfaces_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
)

// filled returns an error's parameters with something in every field.
func filled(row interfaces.ErrorRow) interfaces.Detail {
	detail := row.New()
	v := reflect.ValueOf(detail).Elem()
	for i := range v.NumField() {
		fill(v.Field(i))
	}
	return detail
}

func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Int64:
		v.SetInt(7)
	case reflect.String:
		v.SetString("x")
	}
}

// TestErrorsRoundTrip shows that every error survives its way over the wire, in
// whatever it is wrapped, and is then known to errors.Is and errors.As.
func TestErrorsRoundTrip(t *testing.T) {
	t.Parallel()
	for _, row := range interfaces.Errors {
		err := row.Err
		if row.New != nil {
			err = filled(row)
		}
		for how, wrapped := range map[string]error{
			"bare":   err,
			"once":   fmt.Errorf("agent: %w", err),
			"twice":  fmt.Errorf("call: %w", fmt.Errorf("agent: %w", err)),
			"joined": errors.Join(errors.New("first"), err),
			"two":    fmt.Errorf("%w: %w", errors.New("first"), err),
		} {
			got, parameters, ok := interfaces.ToWire(wrapped)
			if !ok || got.Varlink != row.Varlink {
				t.Errorf("%s, %s: became %s, %v", row.Varlink, how, got.Varlink, ok)
				continue
			}
			back := overWire(t, got.Varlink, parameters)
			if !errors.Is(back, row.Err) || !reflect.DeepEqual(back, err) {
				t.Errorf("%s, %s: became %#v, want %#v", row.Varlink, how, back, err)
			}
		}
	}
}

func overWire(t *testing.T, name string, parameters any) error {
	t.Helper()
	text, err := json.Marshal(parameters)
	if err != nil {
		t.Fatal(err)
	}
	back, ok := interfaces.FromVarlink(name, text)
	if !ok {
		t.Fatalf("%s is unknown", name)
	}
	return back
}

// TestDBusErrorsRoundTrip shows the same of D-Bus, where two errors share a name.
func TestDBusErrorsRoundTrip(t *testing.T) {
	t.Parallel()
	for _, row := range interfaces.Errors {
		want := row.Err
		if row.New != nil {
			want = filled(row)
		}
		if errors.Is(want, interfaces.ErrExpectedMore) {
			want = &interfaces.InvalidParameterError{} // there is no such flag
		}
		decode := func(d interfaces.Detail) error {
			if reflect.TypeOf(d) == reflect.TypeOf(want) && row.New != nil {
				reflect.ValueOf(d).Elem().Set(reflect.ValueOf(want).Elem())
			}
			return nil
		}
		if got, ok := interfaces.FromDBus(row.DBus, decode); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: became %#v, want %#v", row.DBus, got, want)
		}
		garbage := func(interfaces.Detail) error { return errors.New("garbage") }
		if got, ok := interfaces.FromDBus(row.DBus, garbage); !ok || !errors.Is(want, got) {
			t.Errorf("%s with garbage: %v", row.DBus, got)
		}
	}
	if err, ok := interfaces.FromDBus("io.tripleo.Sidecar.NoSuchSidecar", nil); ok {
		t.Errorf("varlink's name is taken for %v", err)
	}
}

// TestErrorsBareSentinel shows that a sentinel without its parameters gets empty
// ones: the reply must fit the interface.
func TestErrorsBareSentinel(t *testing.T) {
	t.Parallel()
	for _, row := range interfaces.Errors {
		_, parameters, ok := interfaces.ToWire(fmt.Errorf("so: %w", row.Err))
		var want any
		if row.New != nil {
			want = row.New()
		}
		if diff := cmp.Diff(want, parameters); !ok || diff != "" {
			t.Errorf("%s, %v (-want +got):\n%s", row.Varlink, ok, diff)
		}
	}
}

func TestErrorsUnknown(t *testing.T) {
	t.Parallel()
	for _, err := range []error{nil, errors.New("no such sidecar"), fmt.Errorf("x: %w", errors.New("y"))} {
		if row, _, ok := interfaces.ToWire(err); ok {
			t.Errorf("%v is taken for %s", err, row.Varlink)
		}
	}
	for _, name := range []string{"", "NoSuchSidecar", "io.tripleo.Sidecar.", "io.tripleo.sidecar.NoSuchSidecar", "org.varlink.service.X"} {
		if err, ok := interfaces.FromVarlink(name, []byte(`{}`)); ok {
			t.Errorf("%q is taken for %v", name, err)
		}
	}
}

// TestErrorsFromGarbage shows that the kind of an error is known although its
// parameters cannot be read.
func TestErrorsFromGarbage(t *testing.T) {
	t.Parallel()
	for _, row := range interfaces.Errors {
		for _, parameters := range []string{"", "[]", "x", `{"id":{},"limit":"a","output":1}`} {
			if err, ok := interfaces.FromVarlink(row.Varlink, []byte(parameters)); !ok || !errors.Is(err, row.Err) {
				t.Errorf("%s with %q: %v, %v", row.Varlink, parameters, err, ok)
			}
		}
	}
}

// TestErrorsTable shows that no two rows share a sentinel, a parameters' type or
// a varlink name, that D-Bus names are well-formed, and that every error has
// words for a person.
func TestErrorsTable(t *testing.T) {
	t.Parallel()
	seen := map[any]bool{}
	once := func(key any) {
		if seen[key] {
			t.Errorf("%v is there twice", key)
		}
		seen[key] = true
	}
	for _, row := range interfaces.Errors {
		once(row.Err)
		once(row.Varlink)
		if !strings.HasPrefix(row.DBus, "io.tripleo.Sidecar1.Error.") && !strings.HasPrefix(row.DBus, "org.freedesktop.DBus.Error.") {
			t.Errorf("D-Bus name %s", row.DBus)
		}
		if row.New == nil {
			continue
		}
		once(reflect.TypeOf(row.New()))
		for _, detail := range []interfaces.Detail{row.New(), filled(row)} {
			if !errors.Is(detail, row.Err) || detail.Error() == "" {
				t.Errorf("%s: %v", row.Varlink, detail)
			}
		}
	}
}
