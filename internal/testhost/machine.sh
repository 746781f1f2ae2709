# Runs, in a virtual machine, the program of /srv/testhost/arguments: a line for each
# word. The last line tells its exit code, and the machine is switched off.
stty -F /dev/ttyS1 -opost # lines end as the program ends them
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mapfile -t argv <arguments
echo "testhost: Linux $(uname -r), $(systemctl --version | head -n 1), $(podman info --format '{{.Host.OCIRuntime.Name}}, controllers {{.Host.CgroupControllers}}')"
export SIDECAR_TESTHOST_MACHINE=$HOSTNAME
if (set -e; . ./start); then
	./"${argv[@]}"
	code=$?
else
	echo "testhost: the start script of the machine failed"
	code=125
fi
[ $code = 0 ] || journalctl --no-pager --quiet --all --output=short-precise --lines=80 --unit='sidecar*'
echo "testhost: exit code $code"
sync
systemctl poweroff --force --force
