package testhost

import (
	"context"
	"io"
	"strconv"
)

// Plug moves a network interface from the caller's network namespace into the host, under
// the same name: mostly one end of a veth pair, whose other end stays with the caller.
func (h *Host) Plug(ctx context.Context, link string) error {
	return runOuter(ctx, io.Discard, "ip", "link", "set", link, "netns", strconv.Itoa(h.leader))
}
