package document

import (
	"crypto/sha256"
	"encoding/hex"
)

// SandboxKey returns what stands for a network namespace that the service makes for an agent, in
// the names of its unit and of its pin.
func SandboxKey(agent, name string) string {
	sum := sha256.Sum256([]byte(name))
	return agent + "." + hex.EncodeToString(sum[:16])
}

// SandboxUnit returns the name of the unit of a [SandboxKey]. No sidecar's unit has a ':'.
func SandboxUnit(key string) string { return "sidecar-namespace:" + key + ".service" }
