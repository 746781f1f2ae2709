package client

import (
	"fmt"
	"path/filepath"
	"strings"
)

// DefaultAddress is where the service listens, on the host as well as inside an
// agent's container.
const DefaultAddress = "unix:/run/sidecar/io.tripleo.Sidecar"

// maxPath is the longest path that fits into sun_path with its final NUL
// (unix(7)).
const maxPath = 107

// parseAddress returns the path of the socket that the address means.
func parseAddress(address string) (string, error) {
	if address == "" {
		address = DefaultAddress
	}
	path, hasScheme := strings.CutPrefix(address, "unix:")
	switch {
	case hasScheme && strings.HasPrefix(path, "@"):
		return "", badAddress(address, "abstract sockets have no owner and are not used")
	case !hasScheme && strings.Contains(path, ":") && !filepath.IsAbs(path):
		return "", badAddress(address, "only unix sockets are known: unix:/PATH or /PATH")
	case !filepath.IsAbs(path):
		return "", badAddress(address, "the path must be absolute: unix:/PATH or /PATH")
	case strings.ContainsRune(path, 0):
		return "", badAddress(address, "the path contains a NUL")
	case len(path) > maxPath:
		return "", badAddress(address, fmt.Sprintf("the path has %d bytes, a socket's path can have %d", len(path), maxPath))
	}
	return path, nil
}

func badAddress(address, why string) error {
	return fmt.Errorf("address %.200q: %s", address, why)
}
