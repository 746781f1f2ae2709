// Package packages has the tests of the packages: a host without sidecar installs them, upgrades
// and downgrades under load, and removes them (make packages-test).
package packages
