package dbus_test

import (
	"context"
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	godbus "github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/client/dbus"
	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/bus/bustest"
	"tripleo.io/sidecar/internal/dict"
)

// TestDBusClientErrors shows that every error of the interface is the same as on
// varlink when it arrives.
func TestDBusClientErrors(t *testing.T) {
	t.Parallel()
	for _, row := range interfaces.Errors {
		if errors.Is(row.Err, interfaces.ErrExpectedMore) {
			continue // there is no such flag
		}
		want, body := row.Err, []any{"text"}
		if row.New != nil {
			detail := row.New()
			fill(reflect.ValueOf(detail).Elem())
			want, body = detail, append(body, dict.Encode(detail))
		}
		f := newFake(t, fails(row.DBus, body...))
		_, err := f.client.Stop(soon(t), interfaces.StopParameters{ID: id})
		if !reflect.DeepEqual(err, want) {
			t.Errorf("%s: %#v, want %#v", row.DBus, err, want)
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
			f.SetString("x")
		case reflect.Int64:
			f.SetInt(12)
		case reflect.Slice:
			f.Set(reflect.ValueOf([]string{"one", "two"}))
		}
	}
}

// TestDBusClientGivesParametersTheirNames shows that an option that is refused has
// the name that it has in the contract.
func TestDBusClientGivesParametersTheirNames(t *testing.T) {
	t.Parallel()
	for option, want := range map[string]string{"network-namespace": "networkNamespace", "timeout-usec": "timeoutUSec", "agent": "agent", "what": "what"} {
		f := newFake(t, fails("org.freedesktop.DBus.Error.InvalidArgs", "t", dict.Encode(interfaces.InvalidParameterError{Parameter: option, Reason: "r"})))
		_, err := f.client.Launch(soon(t), interfaces.LaunchParameters{})
		if d := cmp.Diff(&interfaces.InvalidParameterError{Parameter: want, Reason: "r"}, err); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	}
}

// TestDBusClientOtherErrors has errors of the bus, and unknown ones.
func TestDBusClientOtherErrors(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct {
		err  error
		text string
	}{
		"org.freedesktop.DBus.Error.AccessDenied":   {interfaces.ErrPermissionDenied, "permission denied: so it is"},
		"org.freedesktop.DBus.Error.UnknownMethod":  {interfaces.ErrMethodNotFound, "no such method: so it is"},
		"org.freedesktop.DBus.Error.LimitsExceeded": {interfaces.ErrOverloaded, "overloaded: so it is"},
		"org.freedesktop.DBus.Error.Timeout":        {context.DeadlineExceeded, "so it is: context deadline exceeded"},
		"org.freedesktop.DBus.Error.NoReply":        {client.ErrInterrupted, client.ErrInterrupted.Error()},
		"com.example.Odd":                           {nil, `the service answered error "com.example.Odd": so it is`},
	} {
		f := newFake(t, fails(name, "so it is"))
		_, err := f.client.List(soon(t), interfaces.ListParameters{})
		if err == nil || err.Error() != want.text || want.err != nil && !errors.Is(err, want.err) {
			t.Errorf("%s: %v, want %s", name, err, want.text)
		}
	}
	var unreachable *client.UnreachableError
	f := newFake(t, fails("org.freedesktop.DBus.Error.ServiceUnknown", "gone"))
	if _, err := f.client.List(soon(t), interfaces.ListParameters{}); !errors.As(err, &unreachable) || !strings.Contains(unreachable.Hint(), "sidecard") {
		t.Errorf("the service has left: %v", err)
	}
}

func TestDBusClientAnswersThatAreNone(t *testing.T) {
	t.Parallel()
	for name, reply := range map[string][]any{
		"nothing":        {},
		"another type":   {"text"},
		"another struct": {[]map[string]godbus.Variant{}},
		"a wrong field":  {[]row{{"/x", map[string]godbus.Variant{"Id": godbus.MakeVariant(7)}}}},
	} {
		f := newFake(t, func(c *bustest.Call) { c.Reply(reply...) })
		if got, err := f.client.List(soon(t), interfaces.ListParameters{}); !errors.Is(err, client.ErrProtocol) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestDBusClientHangUps(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(c *bustest.Call) { c.HangUp() })
	if _, err := f.client.List(soon(t), interfaces.ListParameters{}); !errors.Is(err, client.ErrInterrupted) {
		t.Errorf("%v", err)
	}
}

func TestDBusClientWithoutABus(t *testing.T) {
	t.Parallel()
	c, err := dbus.New("unix:path=" + filepath.Join(t.TempDir(), "none"))
	if err != nil {
		t.Fatal(err)
	}
	var unreachable *client.UnreachableError
	if _, err := c.List(soon(t), interfaces.ListParameters{}); !errors.As(err, &unreachable) || !strings.Contains(unreachable.Hint(), "bus") {
		t.Errorf("%v", err)
	}
}

// TestDBusClientGivesUp shows that a call ends with its context, that the service is
// told by the connection's end, and that the next call has its turn.
func TestDBusClientGivesUp(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(*bustest.Call) {})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	for range 2 * 32 {
		if _, err := f.client.List(ctx, interfaces.ListParameters{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%v", err)
		}
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if _, err := f.client.List(ctx, interfaces.ListParameters{}); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
}
