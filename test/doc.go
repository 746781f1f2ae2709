// Package test holds what is only true on a real host: with a systemd, a bus, a
// journal, podman and network namespaces. Its tests have the build tag testhost
// and take the whole host, so they refuse to run anywhere but in a throw-away one
// (internal/testhost, scripts/test).
//
// Each test begins with begin, which holds it to leave the host as it found it.
// They run one after the other, because most of them look at the whole host; what
// is to happen at the same time happens within a test.
package test
