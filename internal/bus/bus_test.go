package bus

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestDialRefusesOtherAddresses(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"tcp:host=h,port=1", "unix:abstract=/x", "unix:path=/x,guid=1", "unix:path=/x;unix:path=/y", "/x"} {
		_, err := Dial(t.Context(), Config{Address: address})
		if err == nil || !strings.Contains(err.Error(), "only unix:path=PATH is supported") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// TestDialEndsWithABusThatIsSilent has a bus that takes connections and says
// nothing.
func TestDialEndsWithABusThatIsSilent(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "bus")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for name, c := range map[string]struct{ ours, callers time.Duration }{
		"our time is over":          {50 * time.Millisecond, time.Minute},
		"the caller's time is over": {time.Minute, 50 * time.Millisecond},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), c.callers)
		defer cancel()
		if _, err := Dial(ctx, Config{Address: "unix:path=" + path, Timeout: c.ours}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
