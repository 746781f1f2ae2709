#!/bin/sh
# Copies the images that the agents' files name from docker's store to podman's, where docker has
# a newer one: after 'docker pull', or from a timer. Needs jq. An image that podman has newer, or
# that docker does not know, is left alone; so is one that is named by its digest, which docker
# cannot save under that name.
set -eu
json=$(sidecarctl images --output=json)
images=$(printf %s "$json" | jq -r '.[].reference')

created() { # created ENGINE IMAGE: in seconds since 1970; 0 if the engine does not have the image
	found=$("$1" image inspect "$2" 2>/dev/null) || found='[{"Created": "1970-01-01T00:00:00Z"}]'
	date -d "$(printf %s "$found" | jq -r '.[0].Created')" +%s
}

copied='' failed=''
for image in $images; do
	case $image in *@*)
		echo "$image: named by its digest; pull it with podman" >&2
		continue
		;;
	esac
	[ "$(created docker "$image")" -gt "$(created podman "$image")" ] || continue
	if docker save "$image" | podman load; then
		copied=1
	else
		echo "$image: not copied" >&2
		failed=1
	fi
done
# The service prepares the images of the runtime engine.
[ -z "$copied" ] || systemctl reload sidecard
sidecarctl images
[ -z "$failed" ]
