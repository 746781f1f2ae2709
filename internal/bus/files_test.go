package bus_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/internal/bus"
	"tripleo.io/sidecar/internal/bus/bustest"
)

// TestFilesArriveWithTheirCalls has calls with a file and others at the same time
// on one connection; each must come with its own.
func TestFilesArriveWithTheirCalls(t *testing.T) {
	t.Parallel()
	b := bustest.New(t, func(c *bustest.Call) {
		if c.Member != "WithFile" {
			c.Reply("nothing")
			return
		}
		for _, f := range c.Files { // some may have come with later calls
			text := make([]byte, 100)
			n, _ := f.ReadAt(text, 0)
			if string(text[:n]) == c.Body[0].(string) {
				c.Reply(string(text[:n]))
				return
			}
		}
		c.Fail("org.example.NoFile", "none of the files is the one")
	})
	var files bus.Files
	conn, err := bus.Dial(t.Context(), bus.Config{Address: b.Address, Files: &files, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var group sync.WaitGroup
	for i := range 20 {
		text := fmt.Sprintf("text %d", i)
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		group.Go(func() {
			file, err := os.Open(path)
			if err != nil {
				t.Error(err)
				return
			}
			call := files.Send(t.Context(), conn, withFile(text), int(file.Fd()), make(chan *dbus.Call, 1))
			file.Close()
			var got string
			if err := (<-call.Done).Store(&got); err != nil || got != text {
				t.Errorf("%q, %v, want %q", got, err, text)
			}
		})
		group.Go(func() {
			if err := conn.Object("org.example", "/").Call("org.example.Without", 0).Err; err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

func withFile(text string) *dbus.Message {
	body := []any{text, dbus.UnixFDIndex(0)}
	return &dbus.Message{Type: dbus.TypeMethodCall, Body: body, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldDestination: dbus.MakeVariant("org.example"),
		dbus.FieldPath:        dbus.MakeVariant(dbus.ObjectPath("/")),
		dbus.FieldInterface:   dbus.MakeVariant("org.example"),
		dbus.FieldMember:      dbus.MakeVariant("WithFile"),
		dbus.FieldSignature:   dbus.MakeVariant(dbus.SignatureOf(body...)),
	}}
}
