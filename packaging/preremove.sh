#!/bin/sh
# Before the files go: "remove" (deb) or 0 (rpm), else another version takes over and there is
# nothing to do. The units of sidecars need the programs to end cleanly, so the package stays
# while sidecars run, unless SIDECAR_STOP=1 says to stop them.
set -e
tell() { echo "sidecar: $*" >&2; }
case $1 in
remove | 0) ;;
*) exit 0 ;;
esac
command -v systemctl >/dev/null || exit 0
if [ ! -d /run/systemd/system ]; then # an image, or a chroot
	systemctl disable sidecard.service
	exit 0
fi

running() {
	systemctl list-units --plain --no-legend --full --state=active,activating,deactivating,reloading \
		'sidecar-*.*.*.service' 'sidecar-namespace:*.service' | cut -d' ' -f1
}
refuse() {
	tell "$(running | wc -l) sidecars and network namespaces of agents are here still; 'sidecarctl list' shows them."
	tell "Stop the agents, then the sidecars ('sidecarctl stop ID'), and remove the package again;"
	tell 'or set SIDECAR_STOP=1 in the environment, and all of them are stopped now.'
	exit 1
}
[ -z "$(running)" ] || [ "$SIDECAR_STOP" = 1 ] || refuse

# Nobody starts a sidecar from here on, by the bus or a spool either; so what runs is counted
# again. If anything fails, everything is as before.
active=
! systemctl --quiet is-active sidecard.service || active=sidecard.service
spools=$(systemctl list-units --plain --no-legend --full --state=active 'sidecar-spool@*.path' | cut -d' ' -f1)
back() {
	systemctl unmask --runtime sidecard.service
	[ -z "$active$spools" ] || systemctl start $active $spools
}
trap back EXIT
systemctl mask --runtime --now sidecard.service
systemctl stop 'sidecar-spool@*' 'sidecar-prepare-*'
left=$(running)
[ -z "$left" ] || [ "$SIDECAR_STOP" = 1 ] || refuse
[ -z "$left" ] || systemctl stop $left
systemctl stop sidecar.slice
systemctl reset-failed 'sidecar-*'
# No image is needed any more.
[ ! -e /run/sidecar/templates/current ] || : >/run/sidecar/templates/current
/usr/libexec/sidecar/sidecar-launch sweep || tell 'some containers or images could not be removed'
podman pod rm --force --ignore sidecar-images >/dev/null || tell "podman's pod sidecar-images could not be removed"
systemctl stop sidecar-clean.service
# What a clean-up that was killed has left: mounts of agents' directories, which must not be
# taken for what is in /run/sidecar.
awk '$5 ~ "^/run/sidecar/" { print $5 }' /proc/self/mountinfo | sort -r | while read -r mount; do
	umount -l "$mount"
done

trap - EXIT
if systemctl --quiet is-enabled sidecard.service 2>/dev/null || [ -e /etc/systemd/system/multi-user.target.wants/sidecard.service ]; then
	# dpkg calls the next installation an upgrade, as the configuration is still here.
	[ "$1" != remove ] || { mkdir -p /var/lib/sidecar && : >/var/lib/sidecar/.removed; }
fi
systemctl disable sidecard.service $spools 2>/dev/null || tell 'some units could not be disabled'
if [ -e /etc/apparmor.d/sidecar ] && grep -q '^sidecar ' /sys/kernel/security/apparmor/profiles 2>/dev/null; then
	apparmor_parser -R /etc/apparmor.d/sidecar || tell 'the AppArmor profile sidecar is still loaded'
fi
