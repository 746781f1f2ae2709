package launcher

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/service/document"
)

func TestHardeningLinksOwn(t *testing.T) {
	t.Parallel()
	l := &document.Links{Action: document.LinksWarn, Own: []string{"qrouter-*", "snat-*", "plain"}}
	got := map[string]bool{}
	for _, name := range []string{"qrouter-1", "qrouter-", "qrouter", "snat-a-b", "plain", "plainer", "xqrouter-1", "", "qdhcp-1"} {
		if owns(l, name) {
			got[name] = true
		}
	}
	if diff := cmp.Diff(map[string]bool{"qrouter-1": true, "qrouter-": true, "snat-a-b": true, "plain": true}, got); diff != "" {
		t.Errorf("the agent's own (-want +got):\n%s", diff)
	}
	if owns(&document.Links{}, "") || owns(&document.Links{Own: []string{"["}}, "[") {
		t.Error("without a pattern, or with a bad one, a name is the agent's")
	}
}

// TestLinksQuoteNames: an agent chooses the names, and cannot begin a line of the log.
func TestLinksQuoteNames(t *testing.T) {
	t.Parallel()
	if got, want := quoted([]string{"qdhcp-1", "the host's", "a\nb", "\x1b[2J", "\xff"}), `qdhcp-1, the host's, "a\nb", "\x1b[2J", "\xff"`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestHardeningLinksNamespaceID reads answers of the kernel, and such as it does not give.
func TestHardeningLinksNamespaceID(t *testing.T) {
	t.Parallel()
	e := netlink.NewAttributeEncoder()
	e.Int32(unix.NETNSA_NSID, 7)
	seven, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	header := make([]byte, 4)
	for name, want := range map[string]struct {
		data []byte
		id   int32
		bad  bool
	}{
		"an ID":                  {append(header, seven...), 7, false},
		"no attribute":           {header, -1, false},
		"nothing":                {nil, -1, true},
		"a header cut short":     {header[:3], -1, true},
		"an attribute cut short": {append(header, seven[:6]...), -1, true},
	} {
		id, err := namespaceID(netlink.Message{Data: want.data})
		if id != want.id || (err != nil) != want.bad {
			t.Errorf("%s: %d, %v", name, id, err)
		}
	}
}
