package varlink

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/service"
)

const (
	denied       = `{"parameters":{},"error":"org.varlink.service.PermissionDenied"}`
	expectedMore = `{"parameters":{},"error":"org.varlink.service.ExpectedMore"}`
	hostFailure  = `{"parameters":{"reason":"internal error; the service's log on the host has the details"},"error":"io.tripleo.Sidecar.HostFailure"}`
	echoed       = `{"parameters":{"text":"a","list":[]}}`
)

func count(n, flags string) string {
	return `{"method":"io.tripleo.Sidecar.Count","parameters":{"number":` + n + `}` + flags + `}`
}

func fail(n string) string {
	return `{"method":"io.tripleo.Sidecar.Fail","parameters":{"number":` + n + `}}`
}

// TestVarlinkCall shows what each kind of call is answered. "" is a hang-up.
func TestVarlinkCall(t *testing.T) {
	t.Parallel()
	server := newServing(t, Limits{})
	for name, test := range map[string]struct{ send, want []string }{
		"echo":     {[]string{`{"method":"io.tripleo.Sidecar.Echo","parameters":{"text":"ä","number":0,"mode":"keep","list":["x",""]}}`}, []string{`{"parameters":{"text":"ä","number":0,"mode":"keep","list":["x",""]}}`}},
		"nil list": {[]string{method("Nil")}, []string{`{"parameters":{"text":"` + "\ufffd" + `<&>","list":[]}}`}},
		"null parameters are empty ones": {
			[]string{`{"method":"io.tripleo.Sidecar.Nil","parameters":null}`},
			[]string{`{"parameters":{"text":"` + "\ufffd" + `<&>","list":[]}}`},
		},
		"in order, together": {
			[]string{count("1", ""), echoCall, count("3", `,"more":true`), echoCall},
			[]string{`{"parameters":{"number":0}}`, echoed, `{"parameters":{"number":0},"continues":true}`, `{"parameters":{"number":1},"continues":true}`, `{"parameters":{"number":2}}`, echoed},
		},
		"more and one reply":         {[]string{count("1", `,"more":true`)}, []string{`{"parameters":{"number":0}}`}},
		"two replies without more":   {[]string{count("2", `,"more":false`), echoCall}, []string{expectedMore, echoed}},
		"no reply and no error":      {[]string{count("0", "")}, []string{hostFailure}},
		"error and no reply":         {[]string{count("-1", "")}, []string{denied}},
		"error and no reply, more":   {[]string{count("-1", `,"more":true`)}, []string{denied}},
		"oneway has no reply":        {[]string{`{"method":"io.tripleo.Sidecar.Nil","oneway":true}`, echoCall}, []string{echoed}},
		"oneway has no error":        {[]string{count("2", `,"oneway":true`), `{"method":"io.tripleo.Sidecar.X","oneway":true}`, echoCall}, []string{echoed}},
		"upgrade":                    {[]string{`{"method":"io.tripleo.Sidecar.Nil","upgrade":true}`, echoCall}, []string{`{"parameters":{"parameter":"upgrade","reason":"no method upgrades the connection"},"error":"org.varlink.service.InvalidParameter"}`, echoed}},
		"no such method":             {[]string{method("Destroy")}, []string{`{"parameters":{"method":"io.tripleo.Sidecar.Destroy"},"error":"org.varlink.service.MethodNotFound"}`}},
		"no such interface":          {[]string{`{"method":"io.tripleo.Other.Nil"}`}, []string{`{"parameters":{"interface":"io.tripleo.Other"},"error":"org.varlink.service.InterfaceNotFound"}`}},
		"invalid parameter":          {[]string{`{"method":"io.tripleo.Sidecar.Echo","parameters":{"text":"a","list":[],"mode":7}}`}, []string{`{"parameters":{"parameter":"mode","reason":"must be a string"},"error":"org.varlink.service.InvalidParameter"}`}},
		"permission denied, wrapped": {[]string{fail("0")}, []string{denied}},
		"expected more":              {[]string{fail("1")}, []string{expectedMore}},
		"error with a reason":        {[]string{fail("2")}, []string{`{"parameters":{"parameter":"number","reason":"too small"},"error":"org.varlink.service.InvalidParameter"}`}},
		"error of the interface":     {[]string{fail("3")}, []string{`{"parameters":{"limit":3},"error":"io.tripleo.Sidecar.TooManySidecars"}`}},
		"error of nobody":            {[]string{fail("4"), echoCall}, []string{hostFailure, echoed}},
		"error with an empty list":   {[]string{fail("5")}, []string{`{"parameters":{"output":[]},"error":"io.tripleo.Sidecar.LaunchFailed"}`}},
		"panic ends the connection":  {[]string{method("Panic"), echoCall}, []string{hostFailure, ""}},
		"not JSON":                   {[]string{"hello", echoCall}, []string{""}},
		"empty":                      {[]string{"", echoCall}, []string{""}},
		"after a good one":           {[]string{echoCall, "[]", echoCall}, []string{echoed, ""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := server.dial(t)
			c.send(strings.Join(test.send, "\x00"))
			c.want(test.want...)
		})
	}
}

func TestVarlinkServiceInfo(t *testing.T) {
	t.Parallel()
	c := newServing(t, Limits{}).dial(t)
	c.send(`{"method":"org.varlink.service.GetInfo"}`)
	c.want(`{"parameters":{"vendor":"TripleO","product":"test","version":"1","url":"https://tripleo.io","interfaces":["org.varlink.service","io.tripleo.Sidecar"]}}`)
	c.send(`{"method":"org.varlink.service.GetInterfaceDescription","parameters":{"interface":"io.tripleo.Sidecar"}}`)
	var got struct{ Description string }
	c.replyOf(&got)
	if !strings.Contains(got.Description, "method Launch(") {
		t.Errorf("description: %q", got.Description)
	}
}

// TestVarlinkPeer shows that a handler knows who calls, from the kernel.
func TestVarlinkPeer(t *testing.T) {
	t.Parallel()
	server := newServing(t, Limits{})
	for _, agent := range []string{"", "neutron-l3"} {
		c := dial(t, server.listen(t, agent))
		c.send(method("Who"))
		var got service.Caller
		c.replyOf(&got)
		want := service.Caller{PID: os.Getpid(), UID: uint32(os.Getuid()), Agent: agent}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(service.Caller{}, "PIDFD")); diff != "" {
			t.Errorf("peer (-want +got):\n%s", diff)
		}
		if err := unix.PidfdSendSignal(got.PIDFD, 0, nil, 0); got.PIDFD >= 0 && err != nil {
			t.Errorf("the pidfd is not of a living process: %v", err)
		}
	}
}

// TestConcurrentVarlinkCalls shows that connections do not wait for each other.
func TestConcurrentVarlinkCalls(t *testing.T) {
	t.Parallel()
	server := newServing(t, Limits{})
	for range 10 {
		server.dial(t).send(method("Wait"))
	}
	for range 10 {
		receive(t, server.waits)
	}
	c := server.dial(t)
	c.send(echoCall)
	c.want(echoed)
}
