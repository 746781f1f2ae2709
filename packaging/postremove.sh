#!/bin/sh
# After the files have gone: "remove" or "purge" (deb), 0 (rpm). What operators wrote, and the
# records of sidecars, go with purge only.
set -e
case $1 in
remove | purge | 0) ;;
*) exit 0 ;;
esac
if [ -d /sys/fs/selinux/booleans ] && command -v semodule >/dev/null && semodule -l | grep -qx sidecar; then
	semodule -r sidecar
fi
if [ "$1" = purge ]; then
	rm -rf /etc/sidecar /var/lib/sidecar
fi
if [ -d /run/systemd/system ]; then
	rm -rf /run/sidecar
	systemctl daemon-reload
fi
