package service

import (
	"runtime"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/systemd"
)

// variables are the environment of a unit that was launched with this argument.
func variables(t *testing.T, argument string) []string {
	t.Helper()
	context := interfaces.Context{Profile: "dnsmasq", Agent: "a", Arguments: []string{argument}}
	encoded, err := document.New(context, context.Arguments, document.Plan{
		ID: "a.dnsmasq.0123456789ab", Engine: interfaces.EnginePodman, Program: "/usr/bin/podman", Image: "image", PIDNamespace: document.Private,
	}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

// A unit that is read again has the same copy of its document, which is forgotten when
// nobody holds it any more.
func TestDocumentsKeepOneCopy(t *testing.T) {
	t.Parallel()
	d := &Documents{}
	first, again, other := d.Digest(variables(t, "--one")), d.Digest(variables(t, "--one")), d.Digest(variables(t, "--other"))
	if first != again || first == other {
		t.Error("the same document has two copies, or two documents have one")
	}
	got := documentOf(systemd.Unit{Digest: other})
	if !got.ok || got.image != "image" || len(got.context.Arguments) != 1 || got.context.Arguments[0] != "--other" {
		t.Errorf("read %+v", got)
	}
	if unreadable := documentOf(systemd.Unit{Digest: d.Digest([]string{"A=b"})}); unreadable.ok || unreadable.engine == nil {
		t.Errorf("of a foreign unit: %+v", unreadable)
	}
	runtime.KeepAlive(first)
	held := func() int {
		runtime.GC()
		d.mu.Lock()
		defer d.mu.Unlock()
		return len(d.known)
	}
	for end := time.Now().Add(10 * time.Second); held() > 1 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if n := held(); n != 1 {
		t.Errorf("%d documents are kept, and one is held", n)
	}
	runtime.KeepAlive(other)
}
