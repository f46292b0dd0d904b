# The guest's init, run as PID 1 by the host's static BusyBox (`busybox sh`).
#
# A generated prelude stands before this text and sets, quoted:
#
#   vmtest_busybox    the static BusyBox, an absolute path
#   vmtest_console    the serial console's name below /dev
#   vmtest_mark       a random word that ends each stream, and begins it after a crash
#   vmtest_kernel     the unpacked kernel package, an absolute path
#   vmtest_directory  the command's working directory
#   vmtest_overlay    size of the overlay's tmpfs, as tmpfs(5) has it
#   vmtest_tty        1: the command gets the terminal hvc0; 0: pipes
#   vmtest_stdin      1: standard input comes through a port; 0: it is empty
#   vmtest_columns, vmtest_rows
#   vmtest_devices    an archive of device nodes for /dev, as cpio(1) reads it; empty for none
#   vmtest_debuginfo  what becomes /usr/lib/debug; empty for none
#   vmtest_hidden()   calls `keep PATH` and `keep_link PATH` for what the fresh mounts would hide
#   vmtest_network()  calls `load FILE` for each module of the network's driver, and
#                     `configure ADDRESS GATEWAY NAMESERVER`; nothing without a network
#   vmtest_shares()   calls `share TAG OPTIONS PATH` for each directory besides the root
#   vmtest_modules()  calls `load FILE` for each module to insert
#   vmtest_command()  execs the command below `env -i`
#
# and makes PID 1 the leader of a session: see job_control.
#
# And, if the kernel is to be crashed after the command, all of them exec below
# `env -i` as well:
#
#   vmtest_crash_select()   ends with status 5 if nothing is to be run after the crash
#   vmtest_capture_kernel() loads the kernel that the crash starts; one line if it cannot
#   vmtest_crash()          crashes the kernel
#   vmtest_crash_command()  the command in the kernel that the crash has started
#
# That kernel runs this init again, in the phase `crash`.
#
# Only applets of that one BusyBox are used: emulated, each fork of a dynamic
# program costs tens of milliseconds. Builtins are used where they do, for the
# same reason.
#
# shellcheck shell=dash
# The prelude sets these:
# shellcheck disable=SC2154
#
# The text is one function, so that the shell has read all of it before it runs:
# the host removes the file as soon as the guest has said hello (and will not boot
# from it again, after a crash).

vmtest_init() {
	umask 022
	# The kernel passes unknown boot parameters as variables. They are nobody's, but
	# for this one, which the command line of a capture kernel has.
	phase=${vmtest_phase:-main}
	PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
	set -u

	# First, because it has the time: the host is told when the kernel was done. An
	# initramfs has mounted it already; what is there otherwise is the host's, as files.
	[ -n "${vmtest_bridge-}" ] || bb mount -t proc -o nosuid,nodev,noexec proc /proc ||
		fail "cannot mount proc on /proc"
	read -r time _ </proc/uptime
	overlay_root
	mount_fresh_file_systems
	open_status_port
	say "hello $phase $time${vmtest_bridge:+ $vmtest_bridge}"
	# For a dump of our memory; a kernel without CONFIG_CRASH_CORE has none.
	[ -r /sys/kernel/vmcoreinfo ] && read -r description </sys/kernel/vmcoreinfo &&
		say "vmcoreinfo $description"

	identity
	limits
	devices
	bb ip link set lo up
	vmtest_network
	vmtest_shares
	if [ "$phase" = main ]; then
		vmtest_modules || fail "cannot load a kernel module"
	elif [ ! -e /proc/vmcore ]; then
		fail "the capture kernel has no /proc/vmcore; was it built with CONFIG_PROC_VMCORE=y?"
	fi
	cd "$vmtest_directory" || fail "cannot enter $vmtest_directory"

	if [ "$vmtest_tty" = 1 ]; then
		run_on_terminal
	else
		run_on_pipes
	fi
	say "exit $phase $status"
	# Nothing may be reset before the host has all that was sent: a reset drops
	# what is queued in a port. The host says `reset` or `crash`, or ends QEMU.
	rest
}

bb() {
	"$vmtest_busybox" "$@"
}

# A line to the host. Before the port is open, the console is all there is.
say() {
	if [ -n "${status_port-}" ]; then
		echo "$1" >&7
	else
		echo "vmtest: ${1#fail }" >/dev/console
	fi
}

say_started() {
	# What made the boot quicker is no business of the tests'. A kernel without SMP has
	# nothing to wait for.
	[ ! -e /sys/kernel/rcu_expedited ] || echo 0 >/sys/kernel/rcu_expedited
	read -r time _ </proc/uptime
	say "started $time"
}

fail() {
	say "fail $1"
	rest
}

# Forever. First for the pumps and the reader of the status port, which have no
# end: tests may have left the guest without room for one more process, and an
# init that cannot fork ends, which is the kernel's panic.
rest() {
	wait
	while :; do bb sleep 3600; done
}

# mount_required TYPE OPTIONS WHERE and mount_optional: the table's bit.
mount_required() {
	bb mount -t "$1" -o "$2" "$1" "$root$3" || fail "cannot mount $1 on $3"
}

# An option may be missing from the kernel, or the directory from the host.
mount_optional() {
	[ -d "$root$3" ] && bb mount -t "$1" -o "$2" "$1" "$root$3" 2>/dev/null
}

# The root is read-only and is the host's: everything that is written goes to a
# tmpfs, through an overlay.
overlay_root() {
	# Any directory of the host's does to hang the tmpfs on; the overlay's lower
	# layer is the file system below it, so that nothing is hidden in the end.
	for scratch in /tmp /mnt /run /var /usr none; do
		[ -d "$scratch" ] && break
	done
	bb mount -t tmpfs -o "mode=755,size=$vmtest_overlay" overlay "$scratch" ||
		fail "cannot mount a tmpfs on $scratch"
	bb mkdir "$scratch/upper" "$scratch/work" "$scratch/root"
	root=$scratch/root
	bb mount -t overlay -o "lowerdir=/,upperdir=$scratch/upper,workdir=$scratch/work" overlay "$root" ||
		fail "cannot mount the overlay; does the kernel have CONFIG_OVERLAY_FS=y?"
	bb mkdir -p "$root/proc" "$root/sys" "$root/dev" "$root/run" "$root/tmp" "$root/etc"
}

# What a mount covers is bound back into it: the project, the kernel package, the
# virtual environment and the run's own files may all live below /tmp or /run.
# Called as `keep PATH` by the prelude; $view shows the overlay without mounts on it.
keep() {
	if [ -d "$view$1" ]; then
		bb mkdir -p "$root$1"
	else
		bb mkdir -p "$root${1%/*}" && : >"$root$1"
	fi
	bb mount --bind "$view$1" "$root$1" || fail "cannot keep $1"
}

# A symbolic link is made again: /run/current-system is one on NixOS.
keep_link() {
	bb mkdir -p "$root${1%/*}" && bb cp -P "$view$1" "$root$1"
}

# Who loads modules for the kernel; $modprobe is who did before. A mount of bpf has it
# look for one with programs to preload (bpf_preload), which nobody needs and which,
# emulated, takes a fifth of init's time. Without CONFIG_MODULES there is nobody.
modprobe=
modprobe_by() {
	[ -e "$root/proc/sys/kernel/modprobe" ] || return 0
	read -r modprobe <"$root/proc/sys/kernel/modprobe"
	echo "$1" >"$root/proc/sys/kernel/modprobe"
}

mount_fresh_file_systems() {
	view=$scratch/view
	bb mkdir "$view"
	# Not recursive: this shows the overlay without what is mounted on it later.
	bb mount --bind "$root" "$view" || fail "cannot bind the overlay"

	bb mount -o move /proc "$root/proc" || fail "cannot move /proc"
	#              type        options                                        where
	mount_required sysfs       nosuid,nodev,noexec                            /sys
	mount_required devtmpfs    nosuid,noexec,mode=755                         /dev
	bb mkdir -p "$root/dev/pts" "$root/dev/shm" "$root/dev/mqueue"
	# Nodes whose first use loads a module. Those that are there already are kept, and
	# named, which is not worth a line on the console.
	[ -z "$vmtest_devices" ] ||
		(cd "$root/dev" && bb cpio -i -d <"$view$vmtest_devices") 2>"$root/dev/null"
	mount_required tmpfs       nosuid,nodev,mode=1777                         /dev/shm
	# drgn's own kernels before 5.10 or so have no multiple instances; gid 5 is tty.
	mount_optional devpts      nosuid,noexec,gid=5,mode=620,ptmxmode=666      /dev/pts
	mount_optional mqueue      nosuid,nodev,noexec                            /dev/mqueue
	mount_required tmpfs       nosuid,nodev,mode=1777                         /tmp
	mount_required tmpfs       nosuid,nodev,mode=755                          /run
	mount_optional cgroup2     nosuid,nodev,noexec                            /sys/fs/cgroup
	mount_optional debugfs     nosuid,nodev,noexec                            /sys/kernel/debug
	mount_optional tracefs     nosuid,nodev,noexec                            /sys/kernel/tracing
	modprobe_by ""
	mount_optional bpf         nosuid,nodev,noexec,mode=700                   /sys/fs/bpf
	modprobe_by "$modprobe"
	mount_optional binfmt_misc nosuid,nodev,noexec                            /proc/sys/fs/binfmt_misc

	# Groups below the root one get the cpu controller, as an init system would give it
	# to them; drgn's tests of task groups are skipped without. Not there before 4.15.
	echo +cpu 2>/dev/null >"$root/sys/fs/cgroup/cgroup.subtree_control"

	vmtest_hidden
	read -r _ _ release _ <"$root/proc/version"
	bb mkdir -p "$root/lib/modules/$release"
	bb mount --bind "$view$vmtest_kernel" "$root/lib/modules/$release" ||
		fail "cannot bind the kernel package $vmtest_kernel"
	if [ -n "$vmtest_debuginfo" ]; then
		bb mkdir -p "$root/usr/lib/debug"
		bb mount --bind "$view$vmtest_debuginfo" "$root/usr/lib/debug" ||
			fail "cannot bind the debugging information $vmtest_debuginfo"
	fi

	bb mkdir -p "$root/run/lock" "$root/run/vmtest/old"
	cd "$root" || fail "cannot enter the new root"
	bb pivot_root . run/vmtest/old || fail "cannot change the root"
	bb umount -l /run/vmtest/old
	bb rmdir /run/vmtest/old
	root=
	cd /
	# PID 1 opened the console of the old root.
	exec </dev/null >/dev/console 2>&1
	# What carries the results must not be what dies when tests take all memory.
	# Children have it from us; the command gives it up.
	echo -1000 >/proc/self/oom_score_adj
}

open_status_port() {
	for port in /sys/class/virtio-ports/*; do
		[ -r "$port/name" ] || continue
		read -r name <"$port/name"
		case $name in
		vmtest.status) status_port=/dev/${port##*/} ;;
		vmtest.stdout) stdout_port=/dev/${port##*/} ;;
		vmtest.stderr) stderr_port=/dev/${port##*/} ;;
		vmtest.events) events_port=/dev/${port##*/} ;;
		vmtest.stdin) stdin_port=/dev/${port##*/} ;;
		esac
	done
	[ -n "${status_port-}" ] || fail "the kernel shows no virtio ports; does it have CONFIG_VIRTIO_CONSOLE=y?"
	exec 7<>"$status_port"
	start_control
}

# What the host asks for while the command runs.
start_control() {
	while read -r word argument more <&7; do
		case $word in
		sysrq) echo "$argument" >/proc/sysrq-trigger ;;
		size) bb stty -F /dev/hvc0 columns "$argument" rows "$more" ;;
		reset) echo b >/proc/sysrq-trigger ;;
		crash) crash_kernel ;;
		esac
	done &
	control=$!
}

# The host has the verdict on the command and all that it has printed. Of what is
# printed here the last line is what the host is told when something goes wrong.
crash_kernel() {
	cd "$vmtest_directory" || fail "cannot enter $vmtest_directory"
	(vmtest_crash_select) >/dev/console 2>&1 4>&- 5>&- 6>&- 7>&-
	if [ $? = 5 ]; then
		say "nothing crash"
		return
	fi
	words=$(vmtest_capture_kernel 2>&1 4>&- 5>&- 6>&- 7>&-) || fail "${words##*"$newline"}"
	say crashing
	(vmtest_crash) >/dev/console 2>&1 4>&- 5>&- 6>&- 7>&-
	status=$?
	# An interrupt may have been asked to do it.
	bb sleep 5
	fail "what was to crash the kernel ended with status $status, and the kernel goes on"
}

newline='
'

identity() {
	# A builtin costs no process.
	{ echo vmtest >/proc/sys/kernel/hostname; } 2>/dev/null || bb hostname vmtest
	# The host's may be a dangling link into /run: never write through it.
	bb rm -f /etc/resolv.conf /etc/hostname
	: >/etc/resolv.conf
	echo vmtest >/etc/hostname
	printf '%s\n' '127.0.0.1 localhost' '::1 localhost' '127.0.1.1 vmtest' >/etc/hosts
}

# Those of PID 1 on Debian, which a login has too: systemd raises these two for itself
# (src/core/main.c, bump_rlimit_nofile: as far as fs.nr_open allows, and
# bump_rlimit_memlock: in KiB), and Debian's pam_limits gives to a session what
# /proc/1/limits says, but for the soft limit of descriptors, 1024. The kernel's own 4096
# descriptors are too few for a database, its 64 KiB of locked memory (before 5.16) for io_uring.
limits() {
	ulimit -Hn 1048576
	read -r _ limit _ </proc/meminfo
	limit=$((limit / 8))
	[ "$limit" -ge 65536 ] || limit=65536
	ulimit -l "$limit"
}

devices() {
	bb ln -s /proc/self/fd /dev/fd
	bb ln -s fd/0 /dev/stdin
	bb ln -s fd/1 /dev/stdout
	bb ln -s fd/2 /dev/stderr
	[ -e /dev/ptmx ] || bb ln -s pts/ptmx /dev/ptmx
}

# Called by vmtest_network in the prelude. The one interface that has a device is it,
# whatever it is called.
configure() {
	for interface in /sys/class/net/*; do
		[ -e "$interface/device" ] && break
	done
	interface=${interface##*/}
	{
		bb ip address add "$1" dev "$interface" && bb ip link set "$interface" up &&
			bb ip route add default via "$2" dev "$interface"
	} || fail "cannot configure the network; does the kernel have CONFIG_VIRTIO_NET?"
	echo "nameserver $3" >/etc/resolv.conf
}

# Called by vmtest_shares in the prelude, a directory before those within it. What is
# there already is hidden.
share() {
	[ -d "$3" ] || bb mkdir -p "$3" || fail "cannot make $3 for what is shared there"
	bb mount -t 9p -o "$2" "$1" "$3" || fail "cannot mount what is shared at $3"
}

# Called by vmtest_network and vmtest_modules in the prelude.
load() {
	bb insmod "$1" || fail "cannot insert $1"
}

# Each output stream is a FIFO with one pump that holds the port, because a port
# can be opened only once. When the command has ended, the mark goes through the
# same FIFO: what the command wrote comes before it, and nobody has to wait for
# end-of-file, which a background child may put off for ever. A write of a few
# bytes into a pipe is atomic (pipe(7)), so the mark arrives in one piece.
run_on_pipes() {
	bb mkfifo -m 666 /run/vmtest/stdout /run/vmtest/stderr /run/vmtest/stdin
	exec 4<>/run/vmtest/stdout 5<>/run/vmtest/stderr
	start_pump stdout "$stdout_port"
	stdout_pump=$!
	start_pump stderr "$stderr_port"
	stderr_pump=$!
	start_events_pump
	if [ "$vmtest_stdin" = 1 ]; then
		# Both ends are opened here: a reader that came before the writer would
		# see an end-of-file.
		exec 8<>/run/vmtest/stdin
		exec 9>/run/vmtest/stdin
		exec 8</run/vmtest/stdin
		bb cat <"$stdin_port" >&9 4>&- 5>&- 6>&- 7>&- 8<&- &
		exec 9>&-
	else
		exec 8</dev/null
	fi
	[ "$phase" = main ] || mark_streams
	say_started
	job_control
	: | the_command <&8 >/run/vmtest/stdout 2>/run/vmtest/stderr 4>&- 5>&- 6>&- 7>&- 8<&- &
	command=$!
	set +m
	exec 8<&-
	wait_for_command
	mark_streams
}

# A shell without job control starts its background jobs with SIGINT and SIGQUIT ignored,
# and no trap of a shell that begins with an ignored signal can change that (POSIX, sh, 2.11
# and `trap`): nothing below the command could be interrupted. Job control needs a
# controlling terminal, which the first one becomes that the leader of a session opens;
# nobody types at the serial console. The first process of such a job leads a process
# group, and setsid(1) would fork instead of becoming the command: that is what `: |` is for.
job_control() {
	{ set -m; } <"/dev/$vmtest_console"
}

# Also in front of what comes after a crash: what the first kernel's processes wrote
# between its verdict and its end is nobody's.
mark_streams() {
	printf '%s' "$vmtest_mark" >&4
	printf '%s' "$vmtest_mark" >&5
	printf '%s' "$vmtest_mark" >&6
}

run_on_terminal() {
	start_events_pump
	# Held open: a terminal that nobody has open forgets its size.
	exec 3<>/dev/hvc0
	bb stty -F /dev/hvc0 sane columns "$vmtest_columns" rows "$vmtest_rows"
	[ "$phase" = main ] || mark_terminal
	say_started
	job_control
	: | the_command <>/dev/hvc0 >&0 2>&0 3>&- 6>&- 7>&- &
	command=$!
	set +m
	wait_for_command
	mark_terminal
}

mark_terminal() {
	printf '%s' "$vmtest_mark" >/dev/hvc0
	printf '%s' "$vmtest_mark" >&6
}

start_events_pump() {
	bb mkfifo -m 666 /run/vmtest/events
	exec 6<>/run/vmtest/events
	start_pump events "$events_port"
	events_pump=$!
}

# start_pump STREAM PORT; $! is it.
start_pump() {
	bb cat <"/run/vmtest/$1" >"$2" 4>&- 5>&- 6>&- 7>&- &
}

the_command() {
	echo 0 >/proc/self/oom_score_adj
	case $phase in
	main) vmtest_command ;;
	*) vmtest_crash_command ;;
	esac
}

# `wait` ends early, with 128 and the signal, when a child of ours or an orphan of
# the command's ends; the command's status is what counts.
wait_for_command() {
	looking=
	trap look_after_children CHLD
	while :; do
		interrupted=
		wait "$command"
		status=$?
		{ [ -z "$interrupted" ] || [ "$status" -le 128 ]; } && break
	done
	look_after_children
	trap - CHLD
}

# Tests run as root and may kill everything but PID 1. The pumps have nothing in
# hand when nothing is being printed, and the FIFOs keep what comes until the next
# one: so most tests that kill them lose nothing. Standard input has no second
# pump: what its first one had taken is gone.
look_after_children() {
	interrupted=1
	again=1
	# The shell runs a trap within a trap, and two pumps for one port are one too many.
	[ -z "$looking" ] || return 0
	looking=1
	while [ -n "$again" ]; do
		again=
		runs "$control" || start_control
		runs "$events_pump" || { start_pump_again events "$events_port" && events_pump=$!; }
		[ -n "${stdout_pump-}" ] || continue
		runs "$stdout_pump" || { start_pump_again stdout "$stdout_port" && stdout_pump=$!; }
		runs "$stderr_pump" || { start_pump_again stderr "$stderr_port" && stderr_pump=$!; }
	done
	looking=
}

# A port that somebody else has opened cannot be: once a second is often enough.
start_pump_again() {
	{
		bb sleep 1
		exec "$vmtest_busybox" cat <"/run/vmtest/$1" >"$2"
	} 4>&- 5>&- 6>&- 7>&- &
}

# Whether a process is there and is no zombie: the state stands behind the name,
# which may have anything in it but is short (proc(5), `stat`).
runs() {
	{ read -r state <"/proc/$1/stat"; } 2>/dev/null || return 1
	case ${state##*) } in [ZX]*) return 1 ;; esac
}

vmtest_init
