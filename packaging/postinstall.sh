#!/bin/sh
# After the files are in place: "configure" (deb) or a number (rpm). It stops no sidecar. The
# service is restarted; callers wait meanwhile. What a security module refuses is said, and the
# rest is done all the same.
set -e
tell() { echo "sidecar: $*" >&2; }
first() { # also after a removal that was no purge: see preremove.sh
	[ "$1:$2" = configure: ] || [ "$1" = 1 ] || [ -e /var/lib/sidecar/.removed ]
}

case $1 in
abort-*)
	# preremove.sh has put everything back if it failed. If it did not, and dpkg gives up
	# afterwards (a package that was to take the place of this one), this is an installation.
	[ -e /var/lib/sidecar/.removed ] || exit 0
	systemctl unmask --runtime sidecard.service
	;;
esac
if first "$@" && command -v systemctl >/dev/null; then
	systemctl preset sidecard.service
fi
if command -v semodule >/dev/null && [ -e /etc/selinux/config ] && ! grep -q '^SELINUX=disabled' /etc/selinux/config; then
	offline=-n # in an image, the policy is loaded when it boots
	[ ! -d /sys/fs/selinux/booleans ] || offline=
	semodule $offline -i /usr/share/selinux/packages/sidecar.cil || tell "the SELinux module was not loaded; see 'SELinux' in docs/hosts.md"
	if [ -z "$offline" ]; then
		# Not /run/sidecar: sidecars have agents' directories mounted there.
		restorecon -R /usr/libexec/sidecar /etc/sidecar || tell 'restorecon has failed'
		[ ! -d /var/lib/sidecar ] || restorecon -R /var/lib/sidecar || tell 'restorecon has failed'
	fi
fi
[ -d /run/systemd/system ] || exit 0 # an image, or a chroot: its boot does the rest

systemd-tmpfiles --create sidecar.conf
/usr/lib/systemd/systemd-sysctl 60-sidecar.conf || tell '/usr/lib/sysctl.d/60-sidecar.conf was not applied'
if [ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" = Y ] && command -v apparmor_parser >/dev/null && [ -e /etc/apparmor.d/sidecar ]; then
	apparmor_parser -r -W /etc/apparmor.d/sidecar || tell 'the AppArmor profiles in /etc/apparmor.d/sidecar were not loaded'
fi
systemctl daemon-reload
# deb-systemd-invoke asks the host's policy-rc.d(8).
invoke=systemctl
! command -v deb-systemd-invoke >/dev/null || invoke=deb-systemd-invoke
if systemctl --quiet is-active sidecard.service; then
	$invoke restart sidecard.service
elif first "$@" && systemctl --quiet is-enabled sidecard.service; then
	$invoke start sidecard.service
fi
rm -f /var/lib/sidecar/.removed
