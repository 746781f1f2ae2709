package client

import (
	"strings"
	"testing"
)

func TestAddress(t *testing.T) {
	t.Parallel()
	long := "/" + strings.Repeat("x", maxPath-1)
	for address, want := range map[string]string{
		"":                DefaultAddress,
		"unix:/run/a":     "unix:/run/a",
		"/run/a":          "unix:/run/a",
		"/run/with:colon": "unix:/run/with:colon",
		long:              "unix:" + long,
	} {
		c, err := New(address)
		if err != nil {
			t.Errorf("%q: %v", address, err)
			continue
		}
		if got := c.Address(); got != want {
			t.Errorf("%q gives %q, want %q", address, got, want)
		}
	}
}

func TestAddressThatIsWrongIsRefused(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"run/a":                            "must be absolute",
		"unix:run/a":                       "must be absolute",
		"unix:":                            "must be absolute",
		"unix:@abstract":                   "abstract",
		"tcp:127.0.0.1:80":                 "only unix sockets",
		"exec:/bin/sh":                     "only unix sockets",
		"/a\x00b":                          "NUL",
		"/" + strings.Repeat("x", maxPath): "has 108 bytes",
	} {
		_, err := New(address)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v does not say %q", address, err, want)
		}
	}
}
