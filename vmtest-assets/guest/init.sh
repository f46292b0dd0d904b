# The guest's init, run as PID 1 by the static BusyBox of its root (`busybox sh`).
#
# A generated prelude stands before this text and sets, quoted:
#
#   vmtest_busybox    the static BusyBox, an absolute path
#   vmtest_console    the serial console's name below /dev
#   vmtest_mark       a random word that ends each stream, and begins it after a crash
#   vmtest_kernel     the unpacked kernel package, an absolute path
#   vmtest_directory  the command's working directory
#   vmtest_root       how to mount the root, if it is another directory than the host's root; empty
#                     if the kernel has mounted it
#   vmtest_overlay    size of the overlay's tmpfs, as tmpfs(5) has it
#   vmtest_overlay_options  mount options of the overlay, each behind a comma
#   vmtest_tty        1: the command gets a terminal; 0: pipes
#   vmtest_stdin      1: standard input comes through a port; 0: it is empty
#   vmtest_columns, vmtest_rows
#   vmtest_files      an archive of directories, links, files and device nodes for the
#                     root, as cpio(1) reads it
#   vmtest_cgroup2    options of the kernel's cgroup2, each with a comma before it
#   vmtest_date       a `date` that sets the clock by fractions of a second; empty for none
#   vmtest_cores      1: core dumps go to what is shared at /run/vmtest/cores
#   vmtest_debuginfo  what becomes /usr/lib/debug; empty for none
#   vmtest_host()     calls `host TAG OPTIONS PATH` for each directory of the host that the guest has
#                     besides such a root
#   vmtest_hidden()   calls `keep PATH` and `keep_link PATH` for what the fresh mounts would hide
#   vmtest_network()  calls `load FILE` for each module of the network's driver, and
#                     `configure ADDRESS GATEWAY NAMESERVER`; nothing without a network
#   vmtest_shares()   calls `load FILE` for each module of disks' file systems, `share TAG OPTIONS
#                     PATH` for each directory besides the root and `disk DEVICE PATH` for each disk
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
#
# If the guest's root is not the host's, the kernel starts this in a directory that was made for
# the run, the stage (xtask/src/vm/stage.rs). It has what is needed of the host at the host's paths,
# or mount points for it.

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
	ask_for_time
	start_kernel_pump
	# For a dump of our memory; a kernel without CONFIG_CRASH_CORE has none.
	[ -r /sys/kernel/vmcoreinfo ] && read -r description </sys/kernel/vmcoreinfo &&
		say "vmcoreinfo $description"

	[ -e /dev/ptmx ] || bb ln -s pts/ptmx /dev/ptmx
	sysctls
	limits
	bb ip link set lo up
	set_clock
	[ "$vmtest_tty" = 0 ] || find_terminal
	start_control
	vmtest_network
	vmtest_shares
	[ "$vmtest_cores" = 0 ] || keep_cores
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
	# Nothing may be reset before the host has all that was sent: a reset drops
	# what is queued in a port. The host says `reset` or `crash`, or ends QEMU.
	rest
}

bb() {
	"$vmtest_busybox" "$@"
}

# A line to the host. Before the port is open, the console is all there is, which the kernel has
# opened for us: the root need not have /dev/console. A process of
# root's may have left a line open there, with which ours would be none: it begins with a
# newline, in the same write(2), for which `echo` has one and `printf` two.
say() {
	if [ -n "${status_port-}" ]; then
		echo "$newline$1" >&7
	else
		echo "${newline}vmtest: ${1#fail }" >&2
	fi
}

say_started() {
	# What made the boot quicker is no business of the tests'. A kernel without SMP has
	# nothing to wait for.
	[ ! -e /sys/kernel/rcu_expedited ] || echo 0 >/sys/kernel/rcu_expedited
	[ -z "$clock" ] || wait "$clock"
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

# mount_table LINES: mounts what stands in a table as fstab(5) has it. One program for all
# of them, because emulated each program takes as long as ten mounts.
mount_table() {
	echo "$1" >"$scratch/table"
	bb mount -a -T "$scratch/table"
}

# The root is read-only: everything that is written goes to a tmpfs, through an overlay.
overlay_root() {
	if [ -n "$vmtest_root" ]; then
		lower=/run/vmtest/root
		scratch=/run/vmtest/scratch
		bb mount -t 9p -o "$vmtest_root" vmtest.root "$lower" || fail "cannot mount the root"
	else
		lower=/
		# Any directory of the host's does to hang the tmpfs on; the overlay's lower
		# layer is the file system below it, so that nothing is hidden in the end.
		for scratch in /tmp /mnt /run /var /usr none; do
			[ -d "$scratch" ] && [ ! -L "$scratch" ] && break
		done
	fi
	bb mount -t tmpfs -o "mode=755,size=$vmtest_overlay" overlay "$scratch" ||
		fail "cannot mount a tmpfs on $scratch"
	root=$scratch/root
	view=$scratch/view
	bb mkdir "$scratch/upper" "$scratch/work" "$root" "$view"
	overlay "$lower" "$scratch" "$root"
	for directory in proc sys dev run tmp etc; do
		[ -d "$root/$directory" ] || bb mkdir "$root/$directory"
	done
	if [ -n "$vmtest_root" ]; then
		view=
		vmtest_host
	else
		# Not recursive: this shows the overlay without what is mounted on it later.
		bb mount --bind "$root" "$view" || fail "cannot bind the overlay"
	fi
}

# overlay LOWER DIRECTORY PLACE: mounts one whose changes go to the directory.
overlay() {
	layers=lowerdir=$1,upperdir=$2/upper,workdir=$2/work
	# Again without the options: one of them may have been left out of the kernel.
	bb mount -t overlay -o "$layers$vmtest_overlay_options" overlay "$3" ||
		bb mount -t overlay -o "$layers" overlay "$3" ||
		fail "cannot mount the overlay; does the kernel have CONFIG_OVERLAY_FS=y?"
}

# Called by vmtest_host in the prelude, on the stage.
host() {
	bb mount -t 9p -o "$2" "$1" "/run/vmtest/$1" || fail "cannot mount the host's $3"
	bb mkdir -p "$scratch/$1/upper" "$scratch/$1/work"
	overlay "/run/vmtest/$1" "$scratch/$1" "$3"
}

# What a mount covers is bound back into it: the project, the kernel package, the
# virtual environment and the run's own files may all live below /tmp or /run.
# Called as `keep PATH` by the prelude; $view shows the overlay without mounts on it, or is the
# stage.
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

# Who loads modules for the kernel; $modprobe is who did before. Without CONFIG_MODULES
# there is nobody.
modprobe=
modprobe_by() {
	[ -e "$root/proc/sys/kernel/modprobe" ] || return 0
	read -r modprobe <"$root/proc/sys/kernel/modprobe"
	echo "$1" >"$root/proc/sys/kernel/modprobe"
}

mount_fresh_file_systems() {
	bb mount -o move /proc "$root/proc" || fail "cannot move /proc"
	# A host's /tmp that is a link leads into the overlay; a mount through the link, which may
	# be absolute, would be one in the old root.
	tmp="tmpfs $root/tmp tmpfs nosuid,nodev,mode=1777"
	[ ! -L "$root/tmp" ] || tmp=
	# Without these there is no guest. BusyBox says which one could not be mounted.
	words=$(mount_table "
sysfs    $root/sys sysfs    nosuid,nodev,noexec
devtmpfs $root/dev devtmpfs nosuid,mode=755
$tmp
tmpfs    $root/run tmpfs    nosuid,nodev,mode=755
" 2>&1) || fail "${words##*"$newline"}"
	cd "$root" || fail "cannot enter the new root"
	# Number of blocks: not worth a line on the console.
	words=$(bb cpio -i -d -u <"$view$vmtest_files" 2>&1) || fail "cannot unpack $vmtest_files: $words"

	# The rest of what systemd mounts on Debian, with its options (docs/guest.md); an
	# option may be missing from the kernel, and with it the directory. What is not
	# there is not worth a line either.
	#
	# The kernel would ask modprobe for types that it does not know. And a mount of bpf
	# has it look for a module with programs to preload (bpf_preload), which nobody needs
	# and which, emulated, takes a fifth of init's time.
	#
	# Kernels before 4.7 have no multiple instances of devpts; gid 5 is tty.
	modprobe_by ""
	mount_table "
tmpfs       $root/dev/shm                 tmpfs       nosuid,nodev,mode=1777
devpts      $root/dev/pts                 devpts      nosuid,noexec,gid=5,mode=620,ptmxmode=666
mqueue      $root/dev/mqueue              mqueue      nosuid,nodev,noexec
hugetlbfs   $root/dev/hugepages           hugetlbfs   nosuid,nodev
cgroup2     $root/sys/fs/cgroup           cgroup2     nosuid,nodev,noexec$vmtest_cgroup2
pstore      $root/sys/fs/pstore           pstore      nosuid,nodev,noexec
bpf         $root/sys/fs/bpf              bpf         nosuid,nodev,noexec,mode=700
fusectl     $root/sys/fs/fuse/connections fusectl     nosuid,nodev,noexec
securityfs  $root/sys/kernel/security     securityfs  nosuid,nodev,noexec
configfs    $root/sys/kernel/config       configfs    nosuid,nodev,noexec
debugfs     $root/sys/kernel/debug        debugfs     nosuid,nodev,noexec
tracefs     $root/sys/kernel/tracing      tracefs     nosuid,nodev,noexec
binfmt_misc $root/proc/sys/fs/binfmt_misc binfmt_misc nosuid,nodev,noexec
" 2>"$root/dev/null"
	modprobe_by "$modprobe"
	# The one that can be a module although its directory is there.
	binfmt=$root/proc/sys/fs/binfmt_misc
	[ ! -d "$binfmt" ] || [ -e "$binfmt/status" ] ||
		bb mount -t binfmt_misc -o nosuid,nodev,noexec binfmt_misc "$binfmt" 2>"$root/dev/null"

	vmtest_hidden
	read -r _ _ release _ <"$root/proc/version"
	[ -d "$root/lib/modules/$release" ] || bb mkdir -p "$root/lib/modules/$release"
	bb mount --bind "$view$vmtest_kernel" "$root/lib/modules/$release" ||
		fail "cannot bind the kernel package $vmtest_kernel"
	if [ -n "$vmtest_debuginfo" ]; then
		bb mkdir -p "$root/usr/lib/debug"
		bb mount --bind "$view$vmtest_debuginfo" "$root/usr/lib/debug" ||
			fail "cannot bind the debugging information $vmtest_debuginfo"
	fi

	bb pivot_root . run/vmtest/old || fail "cannot change the root"
	bb umount -l /run/vmtest/old
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
		vmtest.kernel) kernel_port=/dev/${port##*/} ;;
		vmtest.stdin) stdin_port=/dev/${port##*/} ;;
		esac
	done
	[ -n "${status_port-}" ] || fail "the kernel shows no virtio ports; does it have CONFIG_VIRTIO_CONSOLE=y?"
	exec 7<>"$status_port"
}

# The RTC has whole seconds, the kernel reads it early, and emulated it loses some of the
# time until now: its clock is behind by seconds. The host answers with the difference to
# its own while init goes on. BusyBox before 1.34 has no EPOCHREALTIME.
# shellcheck disable=SC3028
ask_for_time() {
	[ -z "$vmtest_date" ] || say "clock ${EPOCHREALTIME:-$("$vmtest_date" +%s.%N)}"
}

# In the background, because `date` is the root's and dynamic; its end is waited for
# before the command starts, which is to see no jump. BusyBox's knows whole seconds only.
clock=
set_clock() {
	[ -n "$vmtest_date" ] || return 0
	source=
	while read -r word argument more <&7; do
		case $word in
		clock)
			# The clock runs at a wrong speed.
			if [ -z "$more" ] || [ -n "$source" ]; then break; fi
			source=$more
			echo "$source" >/sys/devices/system/clocksource/clocksource0/current_clocksource
			ask_for_time
			;;
		size) vmtest_columns=$argument vmtest_rows=$more ;;
		esac
	done
	# Between reading the clock and setting it, `date` would read /etc/localtime from the
	# host, which takes half a second when that is busy: the clock would lose it.
	LC_ALL=C TZ=UTC0 "$vmtest_date" -s "$argument seconds" >/dev/null 2>&1 7>&- &
	clock=$!
}

# What the host asks for while the command runs.
start_control() {
	while read -r word argument more <&7; do
		case $word in
		sysrq) echo "$argument" >/proc/sysrq-trigger ;;
		size) bb stty -F "$terminal" columns "$argument" rows "$more" ;;
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

# What systemd sets on Debian: its sysctl.d, and what it sets by itself.
sysctls() {
	# A builtin costs no process.
	{ echo vmtest >/proc/sys/kernel/hostname; } 2>/dev/null || bb hostname vmtest
	# Kernels before 4.19 lack two of them.
	{
		echo 1 >/proc/sys/fs/protected_hardlinks
		echo 1 >/proc/sys/fs/protected_symlinks
		echo 1 >/proc/sys/fs/protected_fifos
		echo 2 >/proc/sys/fs/protected_regular
		# The largest `long`, which 32-bit kernels have shorter.
		echo 9223372036854775807 >/proc/sys/fs/file-max ||
			echo 2147483647 >/proc/sys/fs/file-max
		# 32-bit kernels refuse it (PID_MAX_LIMIT), and Debian's systemd for them does not ask.
		echo 4194304 >/proc/sys/kernel/pid_max
		echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range
		echo 512 >/proc/sys/net/unix/max_dgram_qlen
	} 2>/dev/null
	# Groups below the root one get controllers, as systemd gives them to its units;
	# drgn's tests of task groups are skipped without `cpu`, which is not there before
	# 4.15.
	wanted=
	[ ! -r /sys/fs/cgroup/cgroup.controllers ] || read -r controllers </sys/fs/cgroup/cgroup.controllers
	for controller in ${controllers-}; do
		case $controller in
		cpu | cpuset | io | memory | pids) wanted="$wanted +$controller" ;;
		esac
	done
	[ -z "$wanted" ] || echo "$wanted" 2>/dev/null >/sys/fs/cgroup/cgroup.subtree_control
}

# The kernel gives a dump to a program, so that neither the limit of a process (RLIMIT_CORE),
# nor its user, nor its root directory keeps it from having one (core(5)). It waits for that
# program, so that a dump is whole when the parent hears of the end.
keep_cores() {
	echo 16 >/proc/sys/kernel/core_pipe_limit
	echo '|/run/vmtest/core %P %s %e' >/proc/sys/kernel/core_pattern
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

# Called by vmtest_shares as well, for a disk with an empty file system.
disk() {
	[ -d "$2" ] || bb mkdir -p "$2" || fail "cannot make $2 for a disk"
	shared=
	[ ! -k "$2" ] || shared=1
	bb mount -t ext4 "$1" "$2" || fail "cannot mount a disk at $2"
	# Everybody may write where everybody could.
	[ -z "$shared" ] || bb chmod 1777 "$2"
	# Nobody looks for lost files there, and programs that want an empty directory find one.
	bb rmdir "$2/lost+found" 2>/dev/null
}

# Called by vmtest_network, vmtest_shares and vmtest_modules in the prelude.
load() {
	bb insmod "$1" || fail "cannot insert $1"
}

# Each output stream is a FIFO with one pump that holds the port, because a port
# can be opened only once. When the command has ended, the mark goes through the
# same FIFO: what the command wrote comes before it, and nobody has to wait for
# end-of-file, which a background child may put off for ever. A write of a few
# bytes into a pipe is atomic (pipe(7)), so the mark arrives in one piece.
run_on_pipes() {
	exec 4<>/run/vmtest/stdout 5<>/run/vmtest/stderr
	start_pump /run/vmtest/stdout "$stdout_port"
	stdout_pump=$!
	start_pump /run/vmtest/stderr "$stderr_port"
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
	starts=1
	while :; do
		job_control
		: | the_command <&8 >/run/vmtest/stdout 2>/run/vmtest/stderr 4>&- 5>&- 6>&- 7>&- 8<&- &
		command=$!
		set +m
		exec 8<&-
		wait_for_command
		goes_on || break
		exec 8</dev/null
	done
	say_tainted
	say "exit $phase $status"
	mark_streams
}

# Whether the command is started again: it has left a journal, as the test runner does
# when a test has ended its process (run_unittests.py). A process that supervised it
# would not survive a test that kills all but PID 1.
goes_on() {
	[ -s /run/vmtest/events.journal ] && [ "$starts" -lt 30 ] || return 1
	starts=$((starts + 1))
	printf '\n{"status":%s}\n' "$status" >>/run/vmtest/events.journal
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

# The verdict comes before the marks: a stream that nobody takes from (a full pipe, a
# terminal whose output was stopped) would keep it, and for the rest the host has a limit.
# Also in front of what comes after a crash: what the first kernel's processes wrote
# between its verdict and its end is nobody's.
mark_streams() {
	printf '%s' "$vmtest_mark" >&4
	printf '%s' "$vmtest_mark" >&5
	printf '%s' "$vmtest_mark" >&6
	mark_kernel
}

run_on_terminal() {
	start_events_pump
	# Held open: a terminal that nobody has open forgets its size.
	exec 3<>"$terminal"
	bb stty -F "$terminal" sane columns "$vmtest_columns" rows "$vmtest_rows"
	[ "$phase" = main ] || mark_terminal
	say_started
	job_control
	: | the_command <>"$terminal" >&0 2>&0 3>&- 6>&- 7>&- &
	command=$!
	set +m
	wait_for_command
	say_tainted
	say "exit $phase $status"
	mark_terminal
}

# The last of the hypervisors' consoles that can be opened, because the machine's own comes before
# virtio's. In processes of their own, whose terminal it does not become.
find_terminal() {
	number=0
	while (true <>"/dev/hvc$((number + 1))") 2>/dev/null; do
		number=$((number + 1))
	done
	terminal=/dev/hvc$number
}

mark_terminal() {
	# Ctrl-S stops the output until this.
	bb stty -F "$terminal" -ixon
	printf '%s' "$vmtest_mark" >"$terminal"
	printf '%s' "$vmtest_mark" >&6
	mark_kernel
}

# The kernel's log, for the host to look for complaints. /proc/kmsg gives all records that fit
# into one read, and remembers its place: a second pump goes on where the first one was.
kernel_pump=
start_kernel_pump() {
	[ -e /proc/kmsg ] || return 0
	start_pump /proc/kmsg "$kernel_port"
	kernel_pump=$!
}

# As a record of a process' (facility 1) with the level of debugging (7), which no console shows.
mark_kernel() {
	{ [ -n "$kernel_pump" ] && echo "<15>$vmtest_mark" >/dev/kmsg; } 2>/dev/null && return
	# A port can be opened once only. Its end may have been waited for already.
	[ -z "$kernel_pump" ] || { kill -9 "$kernel_pump" && wait "$kernel_pump"; } 2>/dev/null
	printf '%s' "$vmtest_mark" >"$kernel_port"
}

say_tainted() {
	read -r tainted </proc/sys/kernel/tainted && say "tainted $tainted"
}

start_events_pump() {
	exec 6<>/run/vmtest/events
	start_pump /run/vmtest/events "$events_port"
	events_pump=$!
}

# start_pump FILE PORT; $! is it, and no shell that waits for it: a shell that is killed
# would leave the port to its child.
start_pump() {
	exec "$vmtest_busybox" cat <"$1" >"$2" 4>&- 5>&- 6>&- 7>&- &
}

the_command() {
	echo 0 >/proc/self/oom_score_adj
	case $phase in
	main) vmtest_command ;;
	*) vmtest_crash_command ;;
	esac
}

# `wait` ends early, with 128 and the signal, when a child of ours or an orphan of
# the command's ends; the command's status is what counts. The trap does no more than that:
# one that interrupts another changes the status of what the other one was doing, and what runs
# would be taken for dead. Of a signal that comes before `wait` it learns by $awaited: process 1
# is no child, which ends it at once, with 127.
wait_for_command() {
	trap awaited=1 CHLD
	while :; do
		awaited=$command
		look_after_children
		wait "$awaited"
		status=$?
		{ [ "$awaited" != 1 ] || [ "$status" -lt 127 ]; } && break
	done
	trap - CHLD
	look_after_children
}

# Tests run as root and may kill everything but PID 1. The pumps have nothing in
# hand when nothing is being printed, and the FIFOs keep what comes until the next
# one: so most tests that kill them lose nothing. Standard input has no second
# pump: what its first one had taken is gone.
look_after_children() {
	runs "$control" || start_control
	runs "$events_pump" || { start_pump_again /run/vmtest/events "$events_port" && events_pump=$!; }
	[ -z "$kernel_pump" ] || runs "$kernel_pump" ||
		{ start_pump_again /proc/kmsg "$kernel_port" && kernel_pump=$!; }
	[ -n "${stdout_pump-}" ] || return 0
	runs "$stdout_pump" || { start_pump_again /run/vmtest/stdout "$stdout_port" && stdout_pump=$!; }
	runs "$stderr_pump" || { start_pump_again /run/vmtest/stderr "$stderr_port" && stderr_pump=$!; }
}

# A port that somebody else has opened cannot be: once a second is often enough. Only the
# first one says so, because what the console shows is output to the host's idle limit.
complaints=/dev/console
start_pump_again() {
	{
		bb sleep 1
		exec "$vmtest_busybox" cat <"$1" >"$2"
	} 2>"$complaints" 4>&- 5>&- 6>&- 7>&- &
	complaints=/dev/null
}

# Whether a process is there and is no zombie: the state stands behind the name,
# which may have anything in it but is short (proc(5), `stat`). `read` fails as well when a
# signal comes meanwhile that has a trap.
runs() {
	until { read -r state <"/proc/$1/stat"; } 2>/dev/null; do
		[ -e "/proc/$1/stat" ] || return 1
	done
	case ${state##*) } in [ZX]*) return 1 ;; esac
}

vmtest_init
