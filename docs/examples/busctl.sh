#!/usr/bin/env bash
# Sidecars with nothing but busctl and jq.
#
#   busctl.sh launch AGENT PROFILE NETNS [ARGUMENT...]   prints the ID
#   busctl.sh list [AGENT]                               ID, state, process
#   busctl.sh wait ID STATE [SECONDS]                    STATE as list prints it, or gone
#   busctl.sh stop ID
#
# polkit decides who may do what (io.tripleo.sidecar.policy). wait reads signals if busctl
# is of systemd 257 or the user is root; otherwise it asks every second.
set -euo pipefail

service=io.tripleo.Sidecar1
manager=/io/tripleo/Sidecar1

# call prints the answer's values as a JSON array. The two dashes keep busctl from
# taking our arguments for its options. A launch can take as long as its profile says.
call() { # OBJECT INTERFACE METHOD [SIGNATURE ARGUMENT...]
	busctl --json=short --timeout=600 -- call "$service" "$@" | jq -c .data
}

# path_of ID is the sidecar's object: what is no letter or digit, and a digit in
# front, is an underscore and two hexadecimal digits.
path_of() {
	local label=${1//./_2e}
	label=${label//-/_2d}
	[[ $label != [0-9]* ]] || label=_3$label
	echo "$manager/sidecar/$label"
}

launch() {
	local agent=$1 profile=$2 netns=$3
	shift 3
	call "$manager" "$service.Manager" Launch 'sasa{sv}' "$profile" $# "$@" \
		3 agent s "$agent" network-namespace s "$netns" mode s keep |
		jq -r '.[1].Id.data'
}

list() {
	call "$manager" org.freedesktop.DBus.ObjectManager GetManagedObjects |
		jq -r --arg agent "${1-}" '
			.[0][]["io.tripleo.Sidecar1.Sidecar"]
			| select($agent == "" or .Agent.data == $agent)
			| [.Id.data, .State.data, .ProcessId.data // "-"] | @tsv' |
		sort
}

# state ID prints the state. No such property, no such sidecar: gone. Other errors
# end the script.
state() {
	local answer
	if answer=$(busctl --json=short get-property "$service" "$(path_of "$1")" "$service.Sidecar" State 2>&1); then
		jq -r .data <<<"$answer"
	elif [[ $answer == *'no such sidecar'* ]]; then
		echo gone
	else
		echo "$answer" >&2
		return 1
	fi
}

# next_signal PATH INTERFACE MEMBER waits for the next such signal, for two seconds at
# most: one that came before we listened is not missed for longer. Where it cannot
# listen it waits for one second.
next_signal() {
	if busctl --help | grep '^  wait ' >/dev/null; then
		busctl --timeout=2 --quiet wait "$@" >/dev/null 2>&1 || true
		return
	fi
	local ended=0
	read -r -t 2 < <(timeout 2 busctl --json=short monitor --match \
		"type='signal',sender='$service',path='$1',interface='$2',member='$3'" 2>/dev/null) || ended=$?
	[ "$ended" != 1 ] || sleep 1
}

# wait_for ID STATE SECONDS. Anybody on the bus can send a signal: it only says when
# to look again.
wait_for() {
	local id=$1 wanted=$2 end=$((SECONDS + ${3:-60})) now
	while now=$(state "$id") && [ "$now" != "$wanted" ]; do
		if [ $SECONDS -ge $end ]; then
			echo "$id is $now, not $wanted" >&2
			return 1
		fi
		case $now:$wanted in
		gone:*) next_signal "$manager" org.freedesktop.DBus.ObjectManager InterfacesAdded ;;
		*:gone) next_signal "$manager" org.freedesktop.DBus.ObjectManager InterfacesRemoved ;;
		*) next_signal "$(path_of "$id")" org.freedesktop.DBus.Properties PropertiesChanged ;;
		esac
	done
	[ "$now" = "$wanted" ]
}

stop() {
	call "$manager" "$service.Manager" Stop 'sa{sv}' "$1" 0 >/dev/null
}

usage() {
	sed -n '4,7s/^#   //p' "$0" >&2
	exit 2
}

case ${1-}:$# in
launch:[4-9] | launch:[1-9][0-9]*) shift && launch "$@" ;;
list:[12]) shift && list "$@" ;;
wait:[34]) shift && wait_for "$@" ;;
stop:2) shift && stop "$@" ;;
*) usage ;;
esac
