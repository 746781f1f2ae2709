#!/bin/sh
# After the files have gone: "remove" or "purge" (deb), 0 (rpm). What operators wrote, and the
# records of sidecars, go with purge only.
set -e
tell() { echo "sidecar: $*" >&2; }
case $1 in
remove | purge | 0) ;;
*) exit 0 ;;
esac
if [ "$1" = purge ]; then
	# sidecar-shim has its own file in /etc/sidecar.
	rm -rf --one-file-system /etc/sidecar/agents.d /etc/sidecar/profiles.d /var/lib/sidecar
	[ ! -d /etc/sidecar ] || rmdir --ignore-fail-on-non-empty /etc/sidecar
fi
if [ -d /run/systemd/system ]; then
	if awk '$5 ~ "^/run/sidecar/" { found = 1 } END { exit !found }' /proc/self/mountinfo; then
		tell 'something is mounted below /run/sidecar, which stays'
	else
		rm -rf --one-file-system /run/sidecar
	fi
	systemctl unmask --runtime sidecard.service
	systemctl daemon-reload
fi
# At the end: without the module, a package's script may not touch what has its types.
if command -v semodule >/dev/null && semodule -l 2>/dev/null | grep -qx sidecar; then
	offline=-n # in an image
	[ ! -d /sys/fs/selinux/booleans ] || offline=
	semodule $offline -r sidecar || tell 'the SELinux module could not be removed'
	[ -n "$offline" ] || restorecon -Ri /etc/sidecar /var/lib/sidecar || tell 'restorecon has failed'
fi
