# The initramfs' /init, for kernels that have what leads to their root as modules: loads
# them, mounts the root, and goes on with the guest's init, which is init.sh.
#
# The host puts an interpreter line and a prelude in front of this text, which set:
#
#   vmtest_busybox           the static BusyBox
#   vmtest_root_options      how the root is mounted
#   vmtest_init              the guest's init, in the root
#   vmtest_bridge_modules()  calls `load FILE` for each module
#
# If something goes wrong, this ends, and with it the kernel, in a panic: there is no port
# yet over which the host could be told.
#
# shellcheck shell=dash
# The prelude sets these:
# shellcheck disable=SC2154

bb() {
	"$vmtest_busybox" "$@"
}

fail() {
	echo "vmtest: $1" >/dev/console
	exit 1
}

# Called by vmtest_bridge_modules in the prelude.
load() {
	bb insmod "$1" || fail "cannot insert ${1##*/}"
}

bb mount -t proc -o nosuid,nodev,noexec proc /proc || fail "cannot mount proc on /proc"
# For init, which says when the kernel was done and this began.
read -r vmtest_bridge _ </proc/uptime
export vmtest_bridge
vmtest_bridge_modules
bb mount -t 9p -o "$vmtest_root_options" /dev/root /new_root || fail "cannot mount the root"
# Init would mount it again.
bb mount -o move /proc /new_root/proc || fail "cannot move /proc"
exec "$vmtest_busybox" switch_root /new_root "$vmtest_init"
