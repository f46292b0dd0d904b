"""Checks the guest itself: what init has to give to every project's tests.

Nothing here depends on the host's distribution, and nothing may skip: what a
kernel need not have is left out.
"""

import ctypes
import errno
import mmap
import os
import re
import resource
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path


# Files of older kernels have limits that no option mends.
OLD = tuple(int(number) for number in os.uname().release.split("-")[0].split(".")[:2])


def mounts():
    """Mount points with type and options; the last one mounted on a place counts."""
    table = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options = line.split()[:4]
        table[where] = (kind, options.split(","))
    return table


class Identity(unittest.TestCase):
    def test_the_kernel_is_the_one_that_was_asked_for(self):
        self.assertEqual(os.uname().release, os.environ["VMTEST_KERNEL"])

    def test_host_name(self):
        self.assertEqual(socket.gethostname(), "vmtest")
        self.assertEqual(Path("/etc/hostname").read_text(), "vmtest\n")

    def test_root(self):
        self.assertEqual((os.getuid(), os.getgid()), (0, 0))

    def test_time_is_sane(self):
        # Certificates and make look at it. The repository is younger than 2024.
        self.assertGreater(time.time(), 1704067200)
        before = time.monotonic()
        time.sleep(0.05)
        self.assertGreaterEqual(time.monotonic() - before, 0.05)

    def test_machine_id(self):
        # Programs and buses tell machines apart by it (machine-id(5)).
        self.assertRegex(Path("/etc/machine-id").read_text(), r"\A[0-9a-f]{32}\n\Z")

    def test_the_hardware_clock_runs_in_utc(self):
        self.assertEqual(Path("/etc/adjtime").read_text().splitlines()[2], "UTC")

    def test_the_hardware_clock_has_its_usual_name(self):
        if Path("/dev/rtc0").exists():
            self.assertEqual(os.readlink("/dev/rtc"), "rtc0")


class Process(unittest.TestCase):
    """What a login has on Debian, tests have too."""

    def test_umask(self):
        old = os.umask(0o022)
        os.umask(old)
        self.assertEqual(old, 0o022)

    def test_no_signal_is_ignored_or_blocked(self):
        # Python ignores some itself, and gives the default back to its children.
        text = subprocess.check_output(["cat", "/proc/self/status"]).decode()
        for name in ("SigBlk", "SigIgn", "SigCgt"):
            with self.subTest(name=name):
                self.assertIn(name + ":\t0000000000000000\n", text)
        self.assertIs(signal.getsignal(signal.SIGINT), signal.default_int_handler)

    def test_interrupts_end_a_child(self):
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
            with self.subTest(number=number):
                child = subprocess.Popen(["sleep", "1000"])
                child.send_signal(number)
                self.assertEqual(child.wait(), -number)

    def test_an_interrupt_raises(self):
        with self.assertRaises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(100)

    def test_session(self):
        self.assertEqual(os.getsid(0), os.getpgid(0))
        with self.assertRaises(OSError) as caught:
            open("/dev/tty")
        self.assertEqual(caught.exception.errno, errno.ENXIO)

    def test_limits(self):
        infinity = resource.RLIM_INFINITY
        for name, limits in [
            ("NOFILE", (1024, 1048576)),
            ("STACK", (8 << 20, infinity)),
            ("CORE", (0, infinity)),
            ("AS", (infinity, infinity)),
            ("CPU", (infinity, infinity)),
            ("FSIZE", (infinity, infinity)),
        ]:
            with self.subTest(name=name):
                is_now = resource.getrlimit(getattr(resource, "RLIMIT_" + name))
                self.assertEqual(is_now, limits)
        self.assertGreaterEqual(resource.getrlimit(resource.RLIMIT_MEMLOCK)[0], 64 << 20)

    def test_priority(self):
        self.assertEqual(os.getpriority(os.PRIO_PROCESS, 0), 0)
        self.assertEqual(os.sched_getscheduler(0), os.SCHED_OTHER)
        self.assertEqual(Path("/proc/self/oom_score_adj").read_text(), "0\n")


class Environment(unittest.TestCase):
    def test_the_projects_own(self):
        self.assertEqual(os.environ["VMTEST_SELFTEST"], "in the guest")

    def test_path(self):
        for directory in ("/usr/bin", "/bin"):
            self.assertIn(directory, os.environ["PATH"].split(":"))

    def test_home(self):
        self.assertTrue(os.path.isabs(os.environ["HOME"]))

    def test_runtime_directory(self):
        # As pam_systemd gives it to a session (XDG Base Directory Specification).
        path = Path(os.environ["XDG_RUNTIME_DIR"])
        status = path.stat()
        self.assertTrue(stat.S_ISDIR(status.st_mode))
        self.assertEqual(stat.S_IMODE(status.st_mode), 0o700)
        self.assertEqual(status.st_uid, os.getuid())

    def test_no_secret(self):
        for name in os.environ:
            self.assertNotRegex(name.upper(), "TOKEN|SECRET|PASSWORD")

    def test_working_directory(self):
        here = Path(__file__).resolve().parent.parent
        self.assertEqual(Path.cwd().resolve(), here)

    def test_interpreter(self):
        self.assertTrue(os.path.isabs(sys.executable))
        self.assertEqual(os.environ["PYTHON"], sys.executable)

    def test_programs_are_the_hosts(self):
        # BusyBox's ls, which init would find, has no --version.
        words = subprocess.check_output(["ls", "--version"], stderr=subprocess.STDOUT)
        self.assertNotIn(b"BusyBox", words)

    def test_standard_input_is_empty(self):
        self.assertEqual(subprocess.check_output(["cat"], stdin=0), b"")

    def test_no_descriptor_of_init_is_left(self):
        # A child has what is not closed when it starts, as this process had.
        listing = subprocess.check_output(["ls", "/proc/self/fd"], close_fds=False)
        # The last one is the listing's own.
        self.assertEqual(listing.split(), [b"0", b"1", b"2", b"3"])


class Mounts(unittest.TestCase):
    def test_table(self):
        table = mounts()
        for where, kind in [
            ("/", "overlay"),
            ("/proc", "proc"),
            ("/sys", "sysfs"),
            ("/dev", "devtmpfs"),
            ("/dev/pts", "devpts"),
            ("/dev/shm", "tmpfs"),
            ("/tmp", "tmpfs"),
            ("/run", "tmpfs"),
            ("/sys/fs/cgroup", "cgroup2"),
        ]:
            with self.subTest(where=where):
                self.assertEqual(table[where][0], kind)

    def test_what_the_kernel_has_is_mounted(self):
        """What systemd mounts on Debian."""
        kinds = Path("/proc/filesystems").read_text().split()
        table = mounts()
        seen = 0
        for where, kind, options in [
            ("/proc/sys/fs/binfmt_misc", "binfmt_misc", "nosuid,nodev,noexec"),
            ("/sys/fs/bpf", "bpf", "nosuid,nodev,noexec"),
            ("/sys/fs/cgroup", "cgroup2", "nosuid,nodev,noexec"),
            ("/sys/kernel/config", "configfs", "nosuid,nodev,noexec"),
            ("/sys/kernel/debug", "debugfs", "nosuid,nodev,noexec"),
            ("/dev/pts", "devpts", "nosuid,noexec,gid=5,mode=620"),
            ("/dev", "devtmpfs", "nosuid,mode=755"),
            ("/sys/fs/fuse/connections", "fusectl", "nosuid,nodev,noexec"),
            ("/dev/hugepages", "hugetlbfs", "nosuid,nodev"),
            ("/dev/mqueue", "mqueue", "nosuid,nodev,noexec"),
            ("/sys/fs/pstore", "pstore", "nosuid,nodev,noexec"),
            ("/sys/kernel/security", "securityfs", "nosuid,nodev,noexec"),
            ("/sys/kernel/tracing", "tracefs", "nosuid,nodev,noexec"),
        ]:
            # A module that tests have loaded since has its directory, and no mount.
            if kind not in kinds or not Path(where).is_dir():
                continue
            with self.subTest(kind=kind):
                self.assertEqual(table.get(where, ("nothing",))[0], kind)
                self.assertLessEqual(set(options.split(",")), set(table[where][1]))
                seen += 1
        self.assertGreater(seen, 3)
        # Not every kernel lists the option `mode`, and 4.9 does not have it
        # (a3af5f800106 "bpf: allow for mount options to specify permissions").
        if table.get("/sys/fs/bpf", ("nothing",))[0] == "bpf" and OLD > (4, 9):
            self.assertEqual(os.stat("/sys/fs/bpf").st_mode & 0o777, 0o700)

    def test_device_nodes_can_be_mapped_as_code(self):
        # With noexec on /dev, which older inits had, SGX and this are refused.
        self.assertNotIn("noexec", mounts()["/dev"][1])

    def test_the_table_of_mounts_has_its_old_name(self):
        self.assertTrue(os.path.samefile("/etc/mtab", "/proc/self/mounts"))

    def test_directories_of_run(self):
        self.assertEqual(stat.S_IMODE(os.stat("/run/lock").st_mode), 0o1777)
        self.assertEqual(Path("/run/utmp").read_bytes(), b"")
        # Its presence says that systemd runs (sd_booted(3)).
        self.assertFalse(Path("/run/systemd").exists())

    def test_proc(self):
        self.assertEqual(os.readlink("/proc/self"), str(os.getpid()))
        self.assertIn("init=", Path("/proc/cmdline").read_text())

    def test_sys(self):
        self.assertTrue(Path("/sys/kernel").is_dir())
        self.assertTrue(Path("/sys/module").is_dir())

    def test_cgroups_can_be_made(self):
        group = Path("/sys/fs/cgroup/selftest")
        group.mkdir()
        self.assertTrue((group / "cgroup.procs").exists())
        group.rmdir()

    def test_groups_below_the_root_have_controllers(self):
        here = Path("/sys/fs/cgroup/cgroup.controllers").read_text().split()
        below = Path("/sys/fs/cgroup/cgroup.subtree_control").read_text().split()
        wanted = {"cpu", "cpuset", "io", "memory", "pids"}
        self.assertLessEqual(wanted.intersection(here), set(below))

    def test_nothing_is_hidden_below_fresh_mounts(self):
        self.assertTrue(Path(__file__).is_file())
        self.assertTrue(Path(sys.executable).exists())

    def test_the_overlay_has_room_and_a_limit(self):
        room = os.statvfs("/")
        size = room.f_blocks * room.f_frsize
        memory = int(
            re.search(r"MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text()).group(1)
        )
        self.assertGreater(size, 64 << 20)
        self.assertLessEqual(size, memory * 1024)

    def test_fresh_mounts_have_a_limit(self):
        for where in ("/tmp", "/run", "/dev/shm"):
            with self.subTest(where=where):
                room = os.statvfs(where)
                self.assertGreater(room.f_blocks, 0)
                self.assertGreater(room.f_bavail * room.f_frsize, 16 << 20)


class Files(unittest.TestCase):
    """The root is the host's, under an overlay: it looks writable."""

    # Below the overlay, not on a tmpfs: the project itself lives on it unless
    # it is below /tmp, where it is bound from the overlay.
    PLACES = ("/", "/usr", "/etc", "/var")

    def test_writing(self):
        for place in self.PLACES:
            with self.subTest(place=place):
                path = Path(place, "vmtest-selftest")
                path.write_text("x")
                self.assertEqual(path.read_text(), "x")
                path.unlink()
                self.assertFalse(path.exists())

    def test_changing_a_file_of_the_host(self):
        path = Path("/etc/passwd")
        before = path.read_bytes()
        path.write_bytes(before + b"selftest:x:1:1::/:/bin/false\n")
        self.assertTrue(path.read_bytes().endswith(b"/bin/false\n"))
        path.write_bytes(before)

    def test_the_project_can_be_written(self):
        path = Path(__file__).with_name("written-in-the-guest")
        path.write_text("x")
        path.unlink()

    def test_unlinking_an_open_file(self):
        # QEMU before 4.0 or so loses such files on 9p; the overlay must not.
        for place in self.PLACES:
            with self.subTest(place=place):
                path = Path(place, "vmtest-selftest-open")
                with open(str(path), "w+") as file:
                    file.write("still here")
                    file.flush()
                    path.unlink()
                    file.seek(0)
                    self.assertEqual(file.read(), "still here")

    def test_reading_a_file_of_the_host_that_is_unlinked(self):
        path = "/etc/group"
        with open(path, "rb") as file:
            content = Path(path).read_bytes()
            os.unlink(path)
            self.assertEqual(file.read(), content)
        Path(path).write_bytes(content)

    def test_renaming(self):
        for place in self.PLACES:
            with self.subTest(place=place):
                old, new = Path(place, "vmtest-old"), Path(place, "vmtest-new")
                old.write_text("x")
                old.rename(new)
                self.assertFalse(old.exists())
                new.unlink()

    @unittest.skipIf(OLD < (4, 10), "overlayfs renames no directory of the host before 4.10")
    def test_renaming_a_directory_of_the_host(self):
        old = Path(__file__).resolve().parent
        new = old.with_name("vmtest-renamed")
        content = sorted(os.listdir(str(old)))
        os.rename(str(old), str(new))
        try:
            self.assertFalse(old.exists())
            self.assertEqual(sorted(os.listdir(str(new))), content)
            self.assertTrue((new / "test_guest.py").is_file())
        finally:
            os.rename(str(new), str(old))

    @unittest.skipIf(OLD < (4, 17), "overlayfs has several device numbers before 4.17")
    @unittest.skipIf(sys.maxsize < 2**32, "overlayfs has several device numbers on 32-bit kernels")
    def test_one_file_system(self):
        # For `du -x`, `find -xdev` and `tar --one-file-system`: what the host has, what the
        # guest has written, and what it has changed.
        project = Path(__file__).resolve().parent.parent
        new = project / "vmtest-selftest-new"
        new.write_text("x")
        self.addCleanup(new.unlink)
        (project / "tests" / "__init__.py").touch()
        devices, inodes = set(), {}
        for directory, _, _ in os.walk(str(project)):
            with os.scandir(directory) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    devices.add(status.st_dev)
                    if status.st_nlink == 1 or entry.is_dir():
                        other = inodes.setdefault(status.st_ino, entry.path)
                        self.assertEqual(other, entry.path)
                    self.assertEqual(entry.inode(), status.st_ino, entry.path)
        self.assertEqual(len(devices), 1)

    @unittest.skipIf(OLD < (4, 19), "overlayfs copies whole files before 4.19")
    def test_a_new_mode_copies_no_data(self):
        path = os.path.realpath(sys.executable)
        before = os.stat(path)
        room = os.statvfs(path)
        os.chmod(path, 0o700)
        after = os.statvfs(path)
        self.addCleanup(os.chmod, path, stat.S_IMODE(before.st_mode))
        taken = (room.f_bfree - after.f_bfree) * room.f_frsize
        self.assertLess(taken, 1 << 20)
        self.assertEqual(os.stat(path).st_ino, before.st_ino)
        self.assertEqual(os.stat(path).st_size, before.st_size)

    @unittest.skipIf(OLD < (4, 19), "what is open stays the host's before 4.19")
    def test_a_file_of_the_host_that_is_open_when_it_is_first_written(self):
        import fcntl

        path = "/etc/shells" if os.path.exists("/etc/shells") else "/etc/group"
        content = Path(path).read_bytes()
        self.addCleanup(Path(path).write_bytes, content)
        with open(path, "rb") as reader:
            fcntl.flock(reader, fcntl.LOCK_SH)
            before = os.fstat(reader.fileno()).st_ino
            with open(path, "ab") as writer:
                writer.write(b"# selftest\n")
                with self.assertRaises(BlockingIOError):
                    fcntl.flock(writer, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.assertEqual(reader.read(), content + b"# selftest\n")
            self.assertEqual(os.stat(path).st_ino, before)

    def test_hard_links(self):
        with tempfile.TemporaryDirectory(dir="/var") as name:
            first, second = Path(name, "first"), Path(name, "second")
            first.write_text("x")
            os.link(str(first), str(second))
            self.assertEqual(first.stat().st_nlink, 2)
            self.assertEqual(first.stat().st_ino, second.stat().st_ino)

    def test_symbolic_links(self):
        with tempfile.TemporaryDirectory(dir="/var") as name:
            link = Path(name, "link")
            link.symlink_to("nowhere")
            self.assertEqual(os.readlink(str(link)), "nowhere")
            self.assertFalse(link.exists())

    def test_mapping_a_file(self):
        for place in ("/var", "/tmp", "/dev/shm"):
            with self.subTest(place=place):
                with tempfile.TemporaryFile(dir=place) as file:
                    file.truncate(2 * mmap.PAGESIZE)
                    with mmap.mmap(file.fileno(), 0) as memory:
                        memory[mmap.PAGESIZE] = 7
                    file.seek(mmap.PAGESIZE)
                    self.assertEqual(file.read(1), b"\7")

    def test_mapping_a_file_of_the_host(self):
        with open(sys.executable, "rb") as file:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
                self.assertEqual(memory[:4], b"\x7fELF")

    def test_extended_attributes(self):
        with tempfile.NamedTemporaryFile(dir="/var") as file:
            os.setxattr(file.name, "trusted.selftest", b"x")
            self.assertEqual(os.getxattr(file.name, "trusted.selftest"), b"x")

    def test_owners_and_modes(self):
        with tempfile.NamedTemporaryFile(dir="/var") as file:
            os.chown(file.name, 12, 34)
            os.chmod(file.name, 0o4711)
            status = os.stat(file.name)
            self.assertEqual((status.st_uid, status.st_gid), (12, 34))
            self.assertEqual(stat.S_IMODE(status.st_mode), 0o4711)

    def test_locks(self):
        import fcntl

        with tempfile.TemporaryFile(dir="/var") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def test_temporary_directories(self):
        for place in ("/tmp", "/dev/shm"):
            self.assertEqual(stat.S_IMODE(os.stat(place).st_mode), 0o1777)


class Devices(unittest.TestCase):
    def test_nodes(self):
        for name, number in [
            ("null", (1, 3)),
            ("zero", (1, 5)),
            ("full", (1, 7)),
            ("random", (1, 8)),
            ("urandom", (1, 9)),
            ("kmsg", (1, 11)),
            ("tty", (5, 0)),
        ]:
            with self.subTest(name=name):
                status = os.stat("/dev/" + name)
                self.assertTrue(stat.S_ISCHR(status.st_mode))
                device = (os.major(status.st_rdev), os.minor(status.st_rdev))
                self.assertEqual(device, number)

    def test_permissions_are_those_of_udevs_rules(self):
        import grp

        def number(name):
            try:
                return grp.getgrnam(name).gr_gid
            except KeyError:
                return 0

        for name, mode, group in [
            ("btrfs-control", 0o660, "disk"),
            ("full", 0o666, "root"),
            ("fuse", 0o666, "root"),
            ("kmsg", 0o644, "root"),
            ("loop-control", 0o660, "disk"),
            ("mem", 0o640, "kmem"),
            ("net/tun", 0o666, "root"),
            ("null", 0o666, "root"),
            ("ptmx", 0o666, None),
            ("tty", 0o666, None),
            ("tty1", 0o620, "tty"),
            ("urandom", 0o666, "root"),
            ("vhost-net", 0o660, "kvm"),
        ]:
            if not os.path.exists("/dev/" + name):
                continue
            with self.subTest(name=name):
                status = os.stat("/dev/" + name)
                self.assertEqual(oct(stat.S_IMODE(status.st_mode)), oct(mode))
                if group:
                    self.assertEqual(status.st_gid, number(group))

    def test_memory_as_a_file(self):
        if Path("/proc/kcore").exists():
            self.assertTrue(os.path.samefile("/dev/core", "/proc/kcore"))

    def test_null_and_full(self):
        Path("/dev/null").write_text("x")
        with self.assertRaises(OSError) as caught:
            with open("/dev/full", "wb", buffering=0) as file:
                file.write(b"x")
        self.assertEqual(caught.exception.errno, errno.ENOSPC)

    def test_random(self):
        self.assertNotEqual(os.urandom(16), os.urandom(16))

    def test_descriptors(self):
        # Process substitution and `/dev/stdin` of shells need them.
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        os.write(write, b"x")
        os.close(write)
        self.assertEqual(Path("/dev/fd/{}".format(read)).read_bytes(), b"x")
        for name in ("stdin", "stdout", "stderr"):
            self.assertTrue(os.path.lexists("/dev/" + name), name)
        text = subprocess.check_output(["sh", "-c", "echo here >/dev/stdout"])
        self.assertEqual(text, b"here\n")

    def test_a_terminal_can_be_opened(self):
        master, slave = os.openpty()
        self.addCleanup(os.close, master)
        self.addCleanup(os.close, slave)
        self.assertTrue(os.isatty(slave))
        os.write(slave, b"x")
        self.assertEqual(os.read(master, 1), b"x")

    def test_shared_memory(self):
        library = ctypes.CDLL(None, use_errno=True)
        try:
            shm_open, shm_unlink = library.shm_open, library.shm_unlink
        except AttributeError:
            # glibc before 2.34 has them in a library of their own.
            library = ctypes.CDLL("librt.so.1", use_errno=True)
            shm_open, shm_unlink = library.shm_open, library.shm_unlink
        descriptor = shm_open(b"/selftest", os.O_RDWR | os.O_CREAT, 0o600)
        self.assertGreaterEqual(descriptor, 0, os.strerror(ctypes.get_errno()))
        os.close(descriptor)
        self.assertEqual(shm_unlink(b"/selftest"), 0)

    def test_disk(self):
        disk = os.environ["VMTEST_SELFTEST_DISK"]
        self.assertTrue(stat.S_ISBLK(os.stat(disk).st_mode))
        with open(disk, "r+b", buffering=0) as file:
            self.assertEqual(file.seek(0, os.SEEK_END), 64 << 20)
            file.seek(4096)
            self.assertEqual(file.read(512), bytes(512))
            file.seek(4096)
            file.write(b"x" * 512)
            os.fsync(file.fileno())
            file.seek(4096)
            self.assertEqual(file.read(512), b"x" * 512)


class Network(unittest.TestCase):
    def test_loopback(self):
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen(1)
            with socket.create_connection(server.getsockname(), timeout=10) as client:
                connection, _ = server.accept()
                with connection:
                    client.sendall(b"x")
                    self.assertEqual(connection.recv(1), b"x")

    def test_loopback_of_ipv6(self):
        if not Path("/proc/net/if_inet6").exists():
            return
        with socket.socket(socket.AF_INET6) as server:
            server.bind(("::1", 0))

    def test_names_of_this_machine(self):
        self.assertEqual(socket.gethostbyname("localhost"), "127.0.0.1")
        self.assertTrue(socket.gethostbyname("vmtest").startswith("127."))

    def test_there_is_no_other_network(self):
        lines = Path("/proc/net/route").read_text().splitlines()
        self.assertEqual(lines[1:], [])
        path = Path("/etc/resolv.conf")
        self.assertFalse(path.is_symlink())
        self.assertEqual(path.read_text(), "")


class Settings(unittest.TestCase):
    def test_sysctls(self):
        """What systemd sets on Debian."""
        for name, value in [
            ("fs/file-max", str(sys.maxsize)),
            ("fs/protected_fifos", "1"),
            ("fs/protected_hardlinks", "1"),
            ("fs/protected_regular", "2"),
            ("fs/protected_symlinks", "1"),
            ("kernel/pid_max", "4194304" if sys.maxsize > 2**32 else "32768"),
            ("net/ipv4/ping_group_range", "0\t2147483647"),
            ("net/unix/max_dgram_qlen", "512"),
        ]:
            path = Path("/proc/sys", name)
            if path.exists():
                with self.subTest(name=name):
                    self.assertEqual(path.read_text(), value + "\n")


class Modules(unittest.TestCase):
    TREE = Path("/lib/modules") / os.uname().release

    # What is in these needs no hardware.
    ANYWHERE = ("kernel/crypto/", "kernel/fs/", "kernel/lib/", "kernel/net/")

    def test_modules_are_where_modprobe_looks(self):
        self.assertTrue((self.TREE / "modules.dep").is_file())

    def test_the_package_is_there(self):
        if "-vmtest" not in os.uname().release:
            self.skipTest("not a kernel of our own, which alone come with what they were built in")
        self.assertTrue((self.TREE / "vmlinuz").is_file())
        self.assertTrue((self.TREE / "build" / "Makefile").is_file())

    def test_every_module_is_there(self):
        lines = (self.TREE / "modules.dep").read_text().splitlines()
        for line in lines:
            name = line.partition(":")[0]
            self.assertTrue((self.TREE / name).is_file(), name)

    def test_a_module_can_be_loaded(self):
        loaded = {line.split()[0] for line in Path("/proc/modules").read_text().splitlines()}
        for line in (self.TREE / "modules.dep").read_text().splitlines():
            path, _, needs = line.partition(":")
            name = os.path.basename(path).split(".ko")[0].replace("-", "_")
            here = path.startswith(self.ANYWHERE)
            if here and not needs.strip() and name not in loaded:
                break
        else:
            self.skipTest("the kernel has no module without hardware and dependencies")
        subprocess.check_call(["modprobe", name], env=dict(os.environ, PATH=path_with_sbin()))
        self.assertRegex(Path("/proc/modules").read_text(), "(?m)^" + name + " ")
        self.assertTrue(Path("/sys/module", name).is_dir())

    def test_device_nodes_that_load_modules(self):
        lines = (self.TREE / "modules.devname").read_text().splitlines()
        for line in lines:
            if not line.startswith("#"):
                name = line.split()[1]
                self.assertTrue(Path("/dev", name).exists(), name)


def path_with_sbin():
    return os.environ["PATH"] + ":/usr/local/sbin:/usr/sbin:/sbin"


class Processes(unittest.TestCase):
    def test_processors(self):
        self.assertGreaterEqual(os.cpu_count(), 1)
        self.assertLessEqual(os.cpu_count(), 256)

    def test_children_and_signals(self):
        process = subprocess.Popen(["sleep", "60"])
        process.terminate()
        self.assertEqual(process.wait(), -15)

    def test_orphans_are_reaped(self):
        # An orphan becomes init's child; one that nobody waits for stays a zombie.
        pid = int(subprocess.check_output(["sh", "-c", "sleep 0.1 >/dev/null & echo $!"]))
        deadline = time.monotonic() + 20
        while Path("/proc/{}".format(pid)).exists():
            self.assertLess(time.monotonic(), deadline, "a zombie is left")
            time.sleep(0.05)

    def test_threads(self):
        seen = []
        threads = [threading.Thread(target=seen.append, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(seen), list(range(8)))

    def test_session(self):
        # The tests' session is not init's: a terminal signal stays in it.
        self.assertNotEqual(os.getsid(0), 1)


if __name__ == "__main__":
    unittest.main()
