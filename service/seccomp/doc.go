// Package seccomp holds seccomp.json, the filter of system calls for sidecars, and
// seccomp-netfilter.json, the same with one rule more: nf_tables, which it opens, is
// much code of the kernel's, and only conntrackd needs it. The package has no
// code: podman reads the files, which make install puts into /usr/share/sidecar.
//
// The file is a list of what is let through, in the format of containers/common
// (podman's and docker's own). It began as podman's default filter; what no side
// process needs was taken away. What it does not name fails with EPERM. Rules to
// keep to in a change:
//
//   - The kernel looks at 32 bits of ioctl's request, of socket's family and protocol
//     and of a socket option's level and name, a filter compares 64. So a comparison
//     has a mask of 32 bits: without one, a number with higher bits set differs for the
//     filter and is the same for the kernel (CVE-2019-10063).
//   - A call that one rule lets through without a condition is let through: other
//     rules for it say nothing then.
//   - There is no archMap: without one the filter knows the native architecture
//     only, and a call by another one's entry (32 bits, x32) kills the thread.
//   - An ioctl's comment is its name and number. The tests compare them with its
//     value.
package seccomp
