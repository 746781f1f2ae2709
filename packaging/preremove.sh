#!/bin/sh
# Before the files go: "remove" (deb) or 0 (rpm), else another version takes over and there is
# nothing to do. The units of sidecars need the programs to end cleanly, so the package stays
# while sidecars run, unless SIDECAR_STOP=1 says to stop them.
set -e
case $1 in
remove | 0) ;;
*) exit 0 ;;
esac
[ -d /run/systemd/system ] || exit 0

units() { systemctl list-units --plain --no-legend --full --state="$1" 'sidecar-*.*.*.service' 'sidecar-namespace:*.service' | cut -d' ' -f1; }
running=$(units active,activating,deactivating,reloading)
if [ -n "$running" ] && [ "$SIDECAR_STOP" != 1 ]; then
	cat >&2 <<-TEXT
		sidecar: $(echo "$running" | wc -l) sidecars and network namespaces of agents are here still; 'sidecarctl list' shows them.
		sidecar: Stop the agents, then the sidecars ('sidecarctl stop ID'), and remove the package again;
		sidecar: or set SIDECAR_STOP=1 in the environment, and all of them are stopped now.
	TEXT
	exit 1
fi
# The agents' sockets first: otherwise agents start again what is stopped.
spools=$(systemctl list-units --plain --no-legend --full 'sidecar-spool@*.path' | cut -d' ' -f1)
systemctl disable --now sidecard.service $spools
[ -z "$running" ] || systemctl stop $running
failed=$(units failed)
[ -z "$failed" ] || systemctl reset-failed $failed
# No image is needed any more.
if [ -e /run/sidecar/templates/current ]; then
	: >/run/sidecar/templates/current
	/usr/libexec/sidecar/sidecar-launch sweep
	podman pod rm --force --ignore sidecar-images >/dev/null
fi
systemctl stop sidecar-clean.service
if [ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" = Y ] && command -v apparmor_parser >/dev/null; then
	apparmor_parser -R /etc/apparmor.d/sidecar
fi
