#!/bin/sh
# After the files are in place: "configure" (deb), or a number (rpm). It stops no sidecar. The
# service is restarted; callers wait meanwhile.
set -e
case $1 in
abort-*) exit 0 ;;
esac
! command -v systemd-sysusers >/dev/null || systemd-sysusers sidecar.conf
[ -d /run/systemd/system ] || exit 0 # an image is built, or a chroot: all else is done at its boot

systemd-tmpfiles --create sidecar.conf
/usr/lib/systemd/systemd-sysctl 60-sidecar.conf
if [ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" = Y ] && command -v apparmor_parser >/dev/null; then
	apparmor_parser -r -W /etc/apparmor.d/sidecar
fi
if [ -d /sys/fs/selinux/booleans ] && command -v semodule >/dev/null; then
	semodule -i /usr/share/selinux/packages/sidecar.cil
	restorecon -R /usr/libexec/sidecar /etc/sidecar
	for directory in /run/sidecar /var/lib/sidecar; do
		[ ! -d $directory ] || restorecon -R $directory
	done
fi
systemctl daemon-reload
# deb-systemd-invoke asks the host's policy-rc.d(8).
invoke=systemctl
! command -v deb-systemd-invoke >/dev/null || invoke=deb-systemd-invoke
case "$1:$2" in
configure: | 1:*) # the first installation
	systemctl preset sidecard.service
	! systemctl --quiet is-enabled sidecard.service || $invoke start sidecard.service
	;;
*)
	! systemctl --quiet is-active sidecard.service || $invoke restart sidecard.service
	;;
esac
