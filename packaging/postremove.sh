#!/bin/sh
# After the files have gone: "remove" or "purge" (deb), 0 (rpm). What operators wrote, and the
# records of sidecars, go with purge only.
set -e
tell() { echo "sidecar: $*" >&2; }
case $1 in
remove | purge | 0) ;;
*) exit 0 ;;
esac
if [ -d /sys/fs/selinux/booleans ] && command -v semodule >/dev/null && semodule -l | grep -qx sidecar; then
	semodule -r sidecar || tell 'the SELinux module could not be removed'
fi
if [ "$1" = purge ]; then
	# sidecar-shim has its own file in /etc/sidecar.
	rm -rf --one-file-system /etc/sidecar/agents.d /etc/sidecar/profiles.d /var/lib/sidecar
	[ ! -d /etc/sidecar ] || rmdir --ignore-fail-on-non-empty /etc/sidecar
fi
[ -d /run/systemd/system ] || exit 0
if awk '$5 ~ "^/run/sidecar/" { found = 1 } END { exit !found }' /proc/self/mountinfo; then
	tell 'something is mounted below /run/sidecar, which stays'
else
	rm -rf --one-file-system /run/sidecar
fi
systemctl unmask --runtime sidecard.service
systemctl daemon-reload
