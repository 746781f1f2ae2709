// Package seccomp holds the filters of system calls for sidecars; it has no code. podman
// reads them from /usr/share/sidecar, where make install puts them. seccomp.json is for
// all profiles. seccomp-netfilter.json has one more rule, for sockets of
// NETLINK_NETFILTER, which only conntrackd needs: it opens nf_tables, a large part of the
// kernel.
//
// The files list the allowed calls in the format of containers/common (podman's and
// docker's). They began as podman's default filter, without the calls that no side
// process needs. A call that is not listed fails with EPERM. Rules for a change:
//
//   - A comparison has a mask of 32 bits. The kernel looks at 32 bits of ioctl's request,
//     of socket's family and protocol, and of a socket option's level and name, but a
//     filter compares 64 bits: without the mask, a number with higher bits set would pass
//     (CVE-2019-10063).
//   - If one rule allows a call without a condition, the conditions of other rules for
//     this call have no effect.
//   - There is no archMap, so the filter knows only the native architecture, and a call
//     through another one's entry (32 bits, x32) kills the thread.
//   - An ioctl's comment is its name and number. The tests compare them with its value.
package seccomp
