# Runs, in a virtual machine, the program of /srv/testhost/arguments: a line for each
# word. The last line tells its exit code, and the machine is switched off. A program that exits
# with 98 or 99 is run again after a reboot or a loss of power.
stty -F /dev/ttyS1 -opost # lines end as the program ends them
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mapfile -t argv <arguments
echo "testhost: Linux $(uname -r), $(systemctl --version | head -n 1), $(podman info --format '{{.Host.OCIRuntime.Name}}, controllers {{.Host.CgroupControllers}}')"
export SIDECAR_TESTHOST_MACHINE=$HOSTNAME
SIDECAR_TESTHOST_BOOTS=$(cat boots 2>/dev/null || echo 0)
export SIDECAR_TESTHOST_BOOTS
echo $((SIDECAR_TESTHOST_BOOTS + 1)) >boots
sync
if (set -e; . ./start); then
	./"${argv[@]}"
	code=$?
else
	echo "testhost: the start script of the machine failed"
	code=125
fi
case $code in
98)
	echo "testhost: boots again"
	systemctl reboot
	exit
	;;
99) # the power is lost
	echo "testhost: boots again"
	echo b >/proc/sysrq-trigger
	;;
esac
[ $code = 0 ] || journalctl --no-pager --quiet --all --output=short-precise --lines=80 --unit='sidecar*'
echo "testhost: exit code $code"
sync
systemctl poweroff --force --force
