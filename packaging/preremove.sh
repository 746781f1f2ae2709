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
# As services: SELinux may not let a package's script work with containers.
systemctl restart sidecar-clean.service || tell 'some containers or images could not be removed'
systemd-run --quiet --wait --collect --property=RuntimeMaxSec=60 podman pod rm --force --ignore sidecar-images || tell "podman's pod sidecar-images could not be removed"
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
# Nothing of sidecar runs any more, so nobody loses a profile. The kernel takes a name, also if the
# file was changed and the parser is gone.
apparmor=/sys/kernel/security/apparmor
for profile in sidecar sidecard; do
	if grep -qs "^$profile " $apparmor/profiles; then
		printf %s $profile >$apparmor/.remove || tell "the AppArmor profile $profile is still loaded"
	fi
done
rm -f /var/cache/apparmor/*/sidecar
