# mkimage.sh NAME PROGRAMS FILES APPLETS: makes a container image of files of
# this host. Each of the last three is a list of words, separated by spaces.
set -eu
name=$1 programs=$2 files=$3 applets=$4

stage=$(mktemp -d /var/tmp/mkimage.XXXXXX)
trap 'rm -rf "$stage"' EXIT

# The merged /usr of Debian, and the mount points that a read-only container
# needs.
for dir in bin sbin lib lib64; do
	mkdir -p "$stage/usr/$dir"
	ln -s "usr/$dir" "$stage/$dir"
done
mkdir -p "$stage/etc" "$stage/proc" "$stage/sys" "$stage/dev" "$stage/root" \
	"$stage/tmp" "$stage/run" "$stage/var/lib" "$stage/var/log"
chmod 1777 "$stage/tmp"
ln -s ../run "$stage/var/run"

# add FILE: copies what FILE is, symlinks followed, to the same place.
add() {
	dir=$(realpath -m "$(dirname "$1")")
	mkdir -p "$stage$dir"
	[ -e "$stage$dir/${1##*/}" ] || cp -L "$1" "$stage$dir/"
}

for program in $programs; do
	path=$(command -v "$program") || { echo "mkimage: no program $program" >&2; exit 1; }
	add "$path"
	# A static program has no libraries, and ldd says so with an error.
	for library in $(ldd "$path" 2>/dev/null | grep -o '/[^ ]*' || true); do
		add "$library"
	done
done

for file in $files; do
	case $file in *'*'*) continue ;; esac # a pattern that matched nothing
	add "$file"
done

for applet in $applets; do
	ln -s busybox "$stage/usr/bin/$applet"
done

tar -C "$stage" -c . | podman import --quiet - "$name"
