// Package testhost boots a throw-away Debian host with a real systemd,
// dbus-daemon, polkitd, journald and podman, and runs programs in it.
//
// A host is a systemd-nspawn container (systemd-nspawn(1)) on an overlay over
// a cached tree. Booting takes about a second, and nothing that happens in it
// outlives [Host.Close]. Nothing is installed on the machine itself but
// debootstrap and systemd-container, and no daemon is started there.
//
// The package boots, copies in, runs and copies out. What is tested in the
// host, and what its images are for, is the business of the caller.
//
// Not in scope: releases other than Debian's, hosts that outlive the process
// that booted them, networks beyond loopback and what the caller makes
// inside or plugs in, and a virtual machine: the host shares the machine's kernel.
package testhost
