"""What programs expect of a file system, in groups like those of pjdfstest.

It is looked at in a new directory below `$VMTEST_SELFTEST_DIRECTORY`, by default /var, which is
on the guest's root. All of it passes on a host's ext4 as well, as root.
"""

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import select
import shutil
import socket
import sqlite3
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import unittest

PARENT = os.environ.get("VMTEST_SELFTEST_DIRECTORY", "/var")

libc = ctypes.CDLL(None, use_errno=True)


def call(function, *arguments):
    """Calls a function of the C library; an error is an OSError."""
    ctypes.set_errno(0)
    result = getattr(libc, function)(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, "{}: {}".format(function, os.strerror(number)))
    return result


def since(major, minor, what):
    """Leaves a test out where the guest's root cannot pass it: an older kernel's has no `what`."""
    release = tuple(int(number) for number in os.uname().release.split("-")[0].split(".")[:2])
    old = PARENT == "/var" and release < (major, minor)
    return unittest.skipIf(old, "no {} before {}.{}".format(what, major, minor))


def inodes_of_64_bits(what):
    """Leaves a test out where overlayfs has no bits of inode numbers to tell its layers apart."""
    short = PARENT == "/var" and sys.maxsize < 2**32
    return unittest.skipIf(short, "no {} on 32-bit kernels".format(what))


def has_access_control_lists():
    """Whether the kernel keeps them on the root's tmpfs; kernels of distributions do."""
    try:
        with open("/lib/modules/{}/build/.config".format(os.uname().release)) as file:
            return "CONFIG_TMPFS_POSIX_ACL=y\n" in file
    except OSError:
        return True


class Case(unittest.TestCase):
    def setUp(self):
        directory = tempfile.mkdtemp(prefix="files-", dir=PARENT)
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        before = os.getcwd()
        self.addCleanup(os.chdir, before)
        os.chdir(directory)

    def write(self, name, text="x"):
        with open(name, "w") as file:
            file.write(text)

    def read(self, name):
        with open(name) as file:
            return file.read()

    def opened(self, name, flags, mode=0o600):
        descriptor = os.open(name, flags, mode)
        self.addCleanup(self.close, descriptor)
        return descriptor

    @staticmethod
    def close(descriptor):
        with contextlib.suppress(OSError):
            os.close(descriptor)

    def refused(self, number, function, *arguments, **named):
        with self.assertRaises(OSError) as caught:
            function(*arguments, **named)
        self.assertEqual(errno.errorcode[caught.exception.errno], errno.errorcode[number])

    @contextlib.contextmanager
    def nobody(self):
        """As an ordinary user."""
        os.setegid(65534)
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)


class Open(Case):
    def test_create_once(self):
        os.close(os.open("a", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640))
        self.assertEqual(stat.S_IMODE(os.stat("a").st_mode), 0o640)
        self.refused(errno.EEXIST, os.open, "a", os.O_CREAT | os.O_EXCL | os.O_WRONLY)

    def test_create_honours_the_umask(self):
        old = os.umask(0o077)
        self.addCleanup(os.umask, old)
        os.close(os.open("a", os.O_CREAT | os.O_WRONLY, 0o666))
        os.mkdir("d")
        self.assertEqual(stat.S_IMODE(os.stat("a").st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(os.stat("d").st_mode), 0o700)

    def test_create_read_only_for_writing(self):
        # The mode counts from the next open on.
        descriptor = self.opened("a", os.O_CREAT | os.O_RDWR, 0o000)
        os.write(descriptor, b"x")
        self.assertEqual(os.pread(descriptor, 1, 0), b"x")

    def test_truncate_on_open(self):
        self.write("a", "long text")
        os.close(os.open("a", os.O_WRONLY | os.O_TRUNC))
        self.assertEqual(os.stat("a").st_size, 0)

    def test_append_of_two(self):
        one = self.opened("a", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        two = self.opened("a", os.O_APPEND | os.O_WRONLY)
        for number in range(50):
            os.write(one, b"1")
            os.write(two, b"2")
        self.assertEqual(self.read("a"), "12" * 50)

    def test_append_after_truncation(self):
        one = self.opened("a", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.write(one, b"old")
        os.truncate("a", 0)
        os.write(one, b"new")
        self.assertEqual(self.read("a"), "new")

    def test_errors(self):
        self.write("a")
        os.mkdir("d")
        os.symlink("loop", "loop")
        os.symlink("a", "link")
        self.refused(errno.ENOENT, os.open, "none", os.O_RDONLY)
        self.refused(errno.ENOTDIR, os.open, "a/b", os.O_RDONLY)
        self.refused(errno.EISDIR, os.open, "d", os.O_WRONLY)
        self.refused(errno.ENOTDIR, os.open, "a", os.O_RDONLY | os.O_DIRECTORY)
        self.refused(errno.ELOOP, os.open, "loop", os.O_RDONLY)
        self.refused(errno.ELOOP, os.open, "link", os.O_RDONLY | os.O_NOFOLLOW)

    def test_permissions(self):
        self.write("a")
        os.chmod("a", 0o600)
        os.chmod(".", 0o755)
        with self.nobody():
            self.refused(errno.EACCES, os.open, "a", os.O_RDONLY)
            self.refused(errno.EACCES, os.open, "new", os.O_CREAT | os.O_WRONLY)
        os.chmod("a", 0o644)
        with self.nobody():
            os.close(os.open("a", os.O_RDONLY))
            self.refused(errno.EACCES, os.open, "a", os.O_WRONLY)

    @since(5, 8, "faccessat2, without which the C library asks for the real user,")
    def test_permissions_of_the_effective_user(self):
        self.write("a")
        os.chmod("a", 0o600)
        with self.nobody():
            self.assertFalse(os.access("a", os.R_OK, effective_ids=True))

    def test_path_descriptor(self):
        self.write("a", "text")
        descriptor = self.opened("a", os.O_PATH)
        self.assertEqual(os.fstat(descriptor).st_size, 4)
        self.refused(errno.EBADF, os.read, descriptor, 1)
        self.assertEqual(self.read("/proc/self/fd/{}".format(descriptor)), "text")

    @since(6, 10, "O_TMPFILE on overlayfs")
    def test_unnamed(self):
        descriptor = self.opened(".", os.O_TMPFILE | os.O_RDWR)
        os.write(descriptor, b"text")
        self.assertEqual(os.listdir("."), [])
        self.assertEqual(os.fstat(descriptor).st_nlink, 0)
        # os.link() follows no link.
        call("linkat", -100, b"/proc/self/fd/%d" % descriptor, -100, b"named", 0x400)
        self.assertEqual(self.read("named"), "text")

    @since(6, 6, "O_DIRECT on tmpfs")
    def test_direct(self):
        descriptor = self.opened("a", os.O_CREAT | os.O_RDWR | os.O_DIRECT)
        with mmap.mmap(-1, 4096) as page:
            page[:] = b"x" * 4096
            self.assertEqual(os.write(descriptor, page), 4096)
            page[:] = bytes(4096)
            os.lseek(descriptor, 0, os.SEEK_SET)
            self.assertEqual(os.readv(descriptor, [page]), 4096)
            self.assertEqual(page[:4], b"xxxx")

    def test_many_at_once(self):
        descriptors = [self.opened("f%d" % n, os.O_CREAT | os.O_RDWR) for n in range(200)]
        for number, descriptor in enumerate(descriptors):
            os.write(descriptor, b"%d" % number)
        self.assertEqual(self.read("f199"), "199")


class Names(Case):
    def test_long(self):
        name = "n" * 255
        self.write(name)
        self.assertEqual(os.listdir("."), [name])
        self.refused(errno.ENAMETOOLONG, os.open, "n" * 256, os.O_CREAT)
        os.unlink(name)

    def test_odd(self):
        names = [
            b" ", b"-n", b"a\nb", b"a\tb", b"\\", b"'\"`$", b"*?[", b"...", b"\xff\xfe", b"\x01\x7f",
            "ä".encode(), "a\u0308".encode(), b"a:b", b"a,b", b"A", b"a",
        ]
        for name in names:
            with open(name, "wb") as file:
                file.write(name)
        self.assertEqual(sorted(os.listdir(b".")), sorted(names))
        for name in names:
            with open(name, "rb") as file:
                self.assertEqual(file.read(), name)

    def test_deep(self):
        here = os.getcwd()
        for _ in range(100):
            os.mkdir("d" * 40)
            os.chdir("d" * 40)
        self.write("deep")
        self.assertEqual(self.read("deep"), "x")
        os.chdir(here)


class Directories(Case):
    def test_make_and_remove(self):
        os.mkdir("d", 0o750)
        self.assertEqual(stat.S_IMODE(os.stat("d").st_mode), 0o750)
        self.refused(errno.EEXIST, os.mkdir, "d")
        self.write("d/a")
        self.refused(errno.ENOTEMPTY, os.rmdir, "d")
        self.refused(errno.ENOTDIR, os.rmdir, "d/a")
        os.unlink("d/a")
        os.rmdir("d")
        self.refused(errno.ENOENT, os.rmdir, "d")

    def test_group_of_the_directory(self):
        os.mkdir("d")
        os.chown("d", 0, 12)
        os.chmod("d", 0o2755)
        self.write("d/a")
        os.mkdir("d/e")
        self.assertEqual(os.stat("d/a").st_gid, 12)
        self.assertEqual(os.stat("d/e").st_gid, 12)
        self.assertTrue(os.stat("d/e").st_mode & stat.S_ISGID)

    def test_sticky(self):
        os.chmod(".", 0o1777)
        self.write("a")
        with self.nobody():
            self.refused(errno.EPERM, os.unlink, "a")
            self.refused(errno.EPERM, os.rename, "a", "b")

    def test_listing_while_files_are_removed(self):
        names = {"f%d" % n for n in range(300)}
        for name in names:
            self.write(name)
        seen = set()
        with os.scandir(".") as entries:
            for entry in entries:
                seen.add(entry.name)
                os.unlink(entry.name)
        self.assertEqual(seen, names)
        self.assertEqual(os.listdir("."), [])

    def test_listing_while_files_are_made(self):
        names = {"f%d" % n for n in range(300)}
        for name in names:
            self.write(name)
        seen = []
        with os.scandir(".") as entries:
            for number, entry in enumerate(entries):
                seen.append(entry.name)
                if number < 100:
                    self.write("new%d" % number)
        self.assertEqual(len(seen), len(set(seen)))
        self.assertEqual(names - set(seen), set())

    def test_kinds_in_a_listing(self):
        os.mkdir("d")
        self.write("f")
        os.symlink("f", "l")
        os.mkfifo("p")
        with os.scandir(".") as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                self.assertEqual(entry.is_dir(follow_symlinks=False), stat.S_ISDIR(status.st_mode))
                self.assertEqual(entry.is_symlink(), stat.S_ISLNK(status.st_mode))
                if not entry.is_dir():
                    self.assertEqual(entry.inode(), os.lstat(entry.name).st_ino, entry.name)

    @since(4, 17, "inode numbers of directories in a listing")
    @inodes_of_64_bits("inode numbers of directories in a listing")
    def test_directories_in_a_listing(self):
        os.mkdir("d")
        with os.scandir(".") as entries:
            for entry in entries:
                self.assertEqual(entry.inode(), os.lstat(entry.name).st_ino, entry.name)

    def test_links_of_a_directory(self):
        # Either the number of subdirectories and 2, or 1 for "not counted", as find(1) has it.
        before = os.stat(".").st_nlink
        os.mkdir("d")
        self.assertEqual(os.stat(".").st_nlink, before + 1 if before >= 2 else 1)

    def test_removed_working_directory(self):
        os.mkdir("d")
        os.chdir("d")
        os.rmdir("../d")
        self.refused(errno.ENOENT, os.getcwd)
        self.refused(errno.ENOENT, os.open, "a", os.O_CREAT | os.O_WRONLY)
        self.assertEqual(os.listdir("."), [])

    def test_descriptor_of_a_directory(self):
        os.mkdir("d")
        directory = self.opened("d", os.O_RDONLY | os.O_DIRECTORY)
        os.close(os.open("a", os.O_CREAT | os.O_WRONLY, dir_fd=directory))
        os.rename("d", "e")
        self.assertEqual(os.listdir(directory), ["a"])
        self.assertEqual(os.stat("a", dir_fd=directory).st_size, 0)
        os.fsync(directory)


class Unlink(Case):
    """A file that is open has no name any more: every temporary file."""

    def setUp(self):
        super().setUp()
        self.file = self.opened("a", os.O_CREAT | os.O_RDWR)
        os.write(self.file, b"text")
        os.unlink("a")

    def test_read_and_write(self):
        os.write(self.file, b" more")
        self.assertEqual(os.pread(self.file, 100, 0), b"text more")

    def test_status(self):
        status = os.fstat(self.file)
        self.assertEqual((status.st_size, status.st_nlink), (4, 0))

    def test_truncate(self):
        os.ftruncate(self.file, 2)
        os.ftruncate(self.file, 10)
        self.assertEqual(os.pread(self.file, 100, 0), b"te" + bytes(8))

    def test_mode(self):
        os.fchmod(self.file, 0o640)
        self.assertEqual(stat.S_IMODE(os.fstat(self.file).st_mode), 0o640)

    def test_owner(self):
        os.fchown(self.file, 12, 34)
        status = os.fstat(self.file)
        self.assertEqual((status.st_uid, status.st_gid), (12, 34))

    def test_times(self):
        os.utime(self.file, (1, 2))
        self.assertEqual(os.fstat(self.file).st_mtime, 2)

    def test_sync(self):
        os.fsync(self.file)
        os.fdatasync(self.file)

    def test_attributes(self):
        os.setxattr(self.file, "trusted.test", b"x")
        self.assertEqual(os.getxattr(self.file, "trusted.test"), b"x")

    def test_locks(self):
        fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.lockf(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def test_opened_again(self):
        with open("/proc/self/fd/{}".format(self.file), "rb") as again:
            self.assertEqual(again.read(), b"text")

    def test_mapping(self):
        with mmap.mmap(self.file, 4) as memory:
            memory[0] = ord("T")
            memory.flush()
        self.assertEqual(os.pread(self.file, 4, 0), b"Text")

    def test_a_new_one_in_its_place(self):
        self.write("a", "other")
        os.write(self.file, b"!")
        self.assertEqual(self.read("a"), "other")
        self.assertEqual(os.pread(self.file, 100, 0), b"text!")

    def test_allocate(self):
        os.posix_fallocate(self.file, 0, 8192)
        self.assertEqual(os.fstat(self.file).st_size, 8192)

    def test_program(self):
        # An installer replaces what runs.
        shutil.copy("/bin/sleep", "sleep")
        process = subprocess.Popen(["./sleep", "60"])
        os.unlink("sleep")
        process.kill()
        self.assertEqual(process.wait(), -9)


class Links(Case):
    def test_hard(self):
        self.write("a")
        os.link("a", "b")
        self.assertEqual(os.stat("a").st_nlink, 2)
        self.assertEqual(os.stat("a").st_ino, os.stat("b").st_ino)
        self.write("b", "new")
        self.assertEqual(self.read("a"), "new")
        os.unlink("a")
        self.assertEqual((self.read("b"), os.stat("b").st_nlink), ("new", 1))

    def test_hard_errors(self):
        self.write("a")
        self.write("b")
        os.mkdir("d")
        self.refused(errno.EEXIST, os.link, "a", "b")
        self.refused(errno.EPERM, os.link, "d", "e")
        self.refused(errno.ENOENT, os.link, "none", "c")

    def test_hard_link_of_a_symbolic_one(self):
        os.symlink("nowhere", "l")
        os.link("l", "m", follow_symlinks=False)
        self.assertEqual(os.readlink("m"), "nowhere")

    def test_symbolic(self):
        for target in ("nowhere", "a" * 4000, "/abs/olute", "..", "a b\n"):
            os.symlink(target, "l")
            self.assertEqual(os.readlink("l"), target)
            self.assertEqual(os.lstat("l").st_size, len(target))
            os.unlink("l")
        self.write("a")
        os.symlink("a", "l")
        os.chmod("l", 0o600)
        self.assertEqual(stat.S_IMODE(os.stat("a").st_mode), 0o600)
        self.refused(errno.EEXIST, os.symlink, "b", "l")

    def test_owner_of_a_symbolic_one(self):
        os.symlink("nowhere", "l")
        os.lchown("l", 12, 34)
        self.assertEqual((os.lstat("l").st_uid, os.lstat("l").st_gid), (12, 34))

    def test_times_of_a_symbolic_one(self):
        os.symlink("nowhere", "l")
        os.utime("l", (1, 2), follow_symlinks=False)
        self.assertEqual(os.lstat("l").st_mtime, 2)


class Rename(Case):
    def renameat2(self, old, new, flags):
        call("renameat2", -100, os.fsencode(old), -100, os.fsencode(new), flags)

    def test_replaces(self):
        self.write("a", "new")
        self.write("b", "old")
        with open("b") as old:
            os.rename("a", "b")
            self.assertEqual(old.read(), "old")
        self.assertEqual(self.read("b"), "new")
        self.assertEqual(os.listdir("."), ["b"])

    def test_directories(self):
        os.makedirs("a/sub")
        self.write("a/sub/f")
        os.rename("a", "b")
        self.assertEqual(self.read("b/sub/f"), "x")
        os.mkdir("empty")
        os.rename("b", "empty")
        self.assertEqual(self.read("empty/sub/f"), "x")
        os.mkdir("full")
        self.write("full/f")
        self.refused(errno.ENOTEMPTY, os.rename, "empty", "full")
        self.refused(errno.EINVAL, os.rename, "empty", "empty/sub/inner")
        self.refused(errno.ENOTDIR, os.rename, "empty", "full/f")
        self.refused(errno.EISDIR, os.rename, "full/f", "empty")

    def test_same_file(self):
        self.write("a")
        os.link("a", "b")
        os.rename("a", "b")
        self.assertEqual(sorted(os.listdir(".")), ["a", "b"])

    def test_open_file(self):
        descriptor = self.opened("a", os.O_CREAT | os.O_RDWR)
        os.rename("a", "b")
        os.write(descriptor, b"text")
        os.fchmod(descriptor, 0o640)
        os.ftruncate(descriptor, 3)
        self.assertEqual(self.read("b"), "tex")
        self.assertEqual(stat.S_IMODE(os.stat("b").st_mode), 0o640)

    def test_not_over_another(self):
        self.write("a")
        self.write("b")
        self.refused(errno.EEXIST, self.renameat2, "a", "b", 1)
        self.renameat2("a", "c", 1)

    def test_exchange(self):
        self.write("a", "1")
        os.mkdir("b")
        self.renameat2("a", "b", 2)
        self.assertTrue(os.path.isdir("a"))
        self.assertEqual(self.read("b"), "1")

    def test_inode_stays(self):
        self.write("a")
        before = os.stat("a").st_ino
        os.rename("a", "b")
        self.assertEqual(os.stat("b").st_ino, before)


class Status(Case):
    def test_times(self):
        self.write("a")
        os.utime("a", ns=(1_000_000_001, 2_000_000_003))
        status = os.stat("a")
        self.assertEqual((status.st_atime_ns, status.st_mtime_ns), (1_000_000_001, 2_000_000_003))
        call("utimensat", -100, b"a", struct.pack("llll", 0, 0x3FFFFFFE, 5, 7), 0)
        status = os.stat("a")
        self.assertEqual((status.st_atime_ns, status.st_mtime_ns), (1_000_000_001, 5_000_000_007))

    def test_old_and_late_times(self):
        self.write("a")
        for seconds in (-1, 0, 2**31 - 1, 2**32 + 5):
            os.utime("a", (seconds, seconds))
            self.assertEqual(os.stat("a").st_mtime, seconds)

    def test_writing_changes_the_time(self):
        self.write("a")
        os.utime("a", (1, 1))
        self.write("a", "more")
        self.assertGreater(os.stat("a").st_mtime, 1)
        os.utime(".", (1, 1))
        self.write("b")
        self.assertGreater(os.stat(".").st_mtime, 1)

    def test_modes(self):
        self.write("a")
        for mode in (0o000, 0o644, 0o4755, 0o2755, 0o7777):
            os.chmod("a", mode)
            self.assertEqual(stat.S_IMODE(os.stat("a").st_mode), mode)

    def test_owners(self):
        self.write("a")
        os.chmod("a", 0o4755)
        os.chown("a", 12, 34)
        status = os.stat("a")
        self.assertEqual((status.st_uid, status.st_gid), (12, 34))
        os.chown("a", -1, 56)
        status = os.stat("a")
        self.assertEqual((status.st_uid, status.st_gid), (12, 56))

    def test_owner_by_a_user(self):
        os.chmod(".", 0o777)
        with self.nobody():
            self.write("a")
            self.refused(errno.EPERM, os.chown, "a", 0, 0)
            os.chmod("a", 0o600)
        self.write("b")
        with self.nobody():
            self.refused(errno.EPERM, os.chmod, "b", 0o777)
        self.assertEqual(os.stat("a").st_uid, 65534)

    def test_room(self):
        room = os.statvfs(".")
        self.assertGreater(room.f_blocks, 0)
        self.assertEqual(room.f_namemax, 255)

    def test_blocks(self):
        self.write("a", "x" * 100_000)
        os.sync()
        self.assertGreaterEqual(os.stat("a").st_blocks * 512, 100_000)

    @since(4, 17, "single device number")
    @inodes_of_64_bits("single device number")
    def test_one_device(self):
        os.makedirs("d/e")
        self.write("d/f")
        devices = {os.stat(path).st_dev for path in (".", "d", "d/e", "d/f")}
        self.assertEqual(len(devices), 1)

    def test_different_inodes(self):
        for number in range(100):
            self.write("f%d" % number)
        self.assertEqual(len({os.stat(name).st_ino for name in os.listdir(".")}), 100)


class Kinds(Case):
    def test_fifo(self):
        os.mkfifo("p", 0o600)
        self.assertTrue(stat.S_ISFIFO(os.stat("p").st_mode))
        reader = self.opened("p", os.O_RDONLY | os.O_NONBLOCK)
        writer = self.opened("p", os.O_WRONLY)
        os.write(writer, b"x")
        self.assertEqual(os.read(reader, 1), b"x")

    def test_socket(self):
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
            server.bind("s")
            server.listen(1)
            self.assertTrue(stat.S_ISSOCK(os.stat("s").st_mode))
            client.connect("s")
            accepted, _ = server.accept()
            with accepted:
                client.sendall(b"x")
                self.assertEqual(accepted.recv(1), b"x")

    def test_device(self):
        os.mknod("null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        with open("null", "r+b", buffering=0) as file:
            file.write(b"x")
            self.assertEqual(file.read(1), b"")


class Contents(Case):
    def test_holes(self):
        descriptor = self.opened("a", os.O_CREAT | os.O_RDWR)
        os.pwrite(descriptor, b"x", 10 << 20)
        self.assertEqual(os.pread(descriptor, 4, 1 << 20), bytes(4))
        self.assertEqual(os.fstat(descriptor).st_size, (10 << 20) + 1)
        os.fsync(descriptor)
        self.assertLess(os.fstat(descriptor).st_blocks * 512, 1 << 20)

    def test_seek_data(self):
        descriptor = self.opened("a", os.O_CREAT | os.O_RDWR)
        os.pwrite(descriptor, b"x" * 4096, 1 << 20)
        os.fsync(descriptor)
        # A file system may say that all of it is data.
        self.assertIn(os.lseek(descriptor, 0, os.SEEK_DATA), (0, 1 << 20))
        self.assertIn(os.lseek(descriptor, 0, os.SEEK_HOLE), (0, (1 << 20) + 4096))

    def test_allocate(self):
        descriptor = self.opened("a", os.O_CREAT | os.O_RDWR)
        os.posix_fallocate(descriptor, 0, 100_000)
        self.assertEqual(os.fstat(descriptor).st_size, 100_000)

    def test_punch_a_hole(self):
        descriptor = self.opened("a", os.O_CREAT | os.O_RDWR)
        os.write(descriptor, b"x" * 16384)
        call("fallocate", descriptor, 3, ctypes.c_long(4096), ctypes.c_long(4096))
        self.assertEqual(os.pread(descriptor, 16384, 0).count(b"x"), 12288)

    def test_truncate(self):
        self.write("a", "text")
        os.truncate("a", 2)
        os.truncate("a", 5)
        with open("a", "rb") as file:
            self.assertEqual(file.read(), b"te\0\0\0")
        self.refused(errno.EISDIR, os.truncate, ".", 0)

    def test_large_offsets(self):
        descriptor = self.opened("a", os.O_CREAT | os.O_RDWR)
        os.ftruncate(descriptor, 5 << 30)
        os.pwrite(descriptor, b"x", (5 << 30) - 1)
        self.assertEqual(os.pread(descriptor, 2, (5 << 30) - 1), b"x")

    @unittest.skipUnless(hasattr(os, "copy_file_range"), "Python before 3.8 cannot call it")
    def test_copy_range(self):
        self.write("a", "text" * 1000)
        source = self.opened("a", os.O_RDONLY)
        goal = self.opened("b", os.O_CREAT | os.O_RDWR)
        os.copy_file_range(source, goal, 4000)
        self.assertEqual(self.read("b"), "text" * 1000)

    def test_sendfile(self):
        self.write("a", "text" * 1000)
        source = self.opened("a", os.O_RDONLY)
        goal = self.opened("b", os.O_CREAT | os.O_WRONLY)
        self.assertEqual(os.sendfile(goal, source, 0, 4000), 4000)
        self.assertEqual(self.read("b"), "text" * 1000)

    def test_splice(self):
        self.write("a", "text")
        source = self.opened("a", os.O_RDONLY)
        read, write = os.pipe()
        self.addCleanup(self.close, read)
        self.addCleanup(self.close, write)
        goal = self.opened("b", os.O_CREAT | os.O_WRONLY)
        self.assertEqual(call("splice", source, None, write, None, 4, 0), 4)
        self.assertEqual(call("splice", read, None, goal, None, 4, 0), 4)
        self.assertEqual(self.read("b"), "text")

    @unittest.skipUnless(hasattr(os, "preadv"), "Python before 3.7 cannot call it")
    def test_vectors(self):
        descriptor = self.opened("a", os.O_CREAT | os.O_RDWR)
        self.assertEqual(os.pwritev(descriptor, [b"ab", b"cd"], 1), 4)
        one, two = bytearray(3), bytearray(2)
        self.assertEqual(os.preadv(descriptor, [one, two], 0), 5)
        self.assertEqual((bytes(one), bytes(two)), (b"\0ab", b"cd"))

    def test_large(self):
        data = os.urandom(1 << 20) * 5
        with open("a", "wb") as file:
            file.write(data)
        with open("a", "rb") as file:
            self.assertEqual(file.read(), data)

    def test_two_descriptors_see_the_same(self):
        one = self.opened("a", os.O_CREAT | os.O_RDWR)
        two = self.opened("a", os.O_RDWR)
        os.pwrite(one, b"12345678", 0)
        self.assertEqual(os.pread(two, 8, 0), b"12345678")
        os.pwrite(two, b"x", 3)
        self.assertEqual(os.pread(one, 8, 0), b"123x5678")
        os.ftruncate(two, 2)
        self.assertEqual(os.pread(one, 8, 0), b"12")

    def test_sync(self):
        descriptor = self.opened("a", os.O_CREAT | os.O_RDWR)
        os.write(descriptor, b"x")
        os.fsync(descriptor)
        os.fdatasync(descriptor)
        call("syncfs", descriptor)

    def test_advice(self):
        descriptor = self.opened("a", os.O_CREAT | os.O_RDWR)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def test_replaced_atomically(self):
        # What editors and package managers do, while somebody reads.
        self.write("a", "0" * 5000)
        stop = threading.Event()
        seen = set()

        def reader():
            while not stop.is_set():
                seen.add(self.read("a"))

        thread = threading.Thread(target=reader)
        thread.start()
        for number in range(1, 10):
            self.write("b", str(number) * 5000)
            os.rename("b", "a")
        stop.set()
        thread.join()
        self.assertEqual({len(text) for text in seen}, {5000})
        self.assertEqual({len(set(text)) for text in seen}, {1})


class Mapping(Case):
    def test_private(self):
        self.write("a", "text")
        with open("a", "r+b") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as memory:
            memory[0] = ord("T")
            self.assertEqual(memory[:4], b"Text")
        self.assertEqual(self.read("a"), "text")

    def test_shared(self):
        self.write("a", "text")
        with open("a", "r+b") as file:
            with mmap.mmap(file.fileno(), 0) as one, mmap.mmap(file.fileno(), 0) as two:
                one[0] = ord("T")
                self.assertEqual(two[:4], b"Text")
                one.flush()
        self.assertEqual(self.read("a"), "Text")

    def test_shared_with_writes(self):
        descriptor = self.opened("a", os.O_CREAT | os.O_RDWR)
        os.ftruncate(descriptor, 8192)
        with mmap.mmap(descriptor, 0) as memory:
            os.pwrite(descriptor, b"written", 0)
            self.assertEqual(memory[:7], b"written")
            memory[4096:4102] = b"mapped"
            self.assertEqual(os.pread(descriptor, 6, 4096), b"mapped")

    def test_shared_between_processes(self):
        descriptor = self.opened("a", os.O_CREAT | os.O_RDWR)
        os.ftruncate(descriptor, 4096)
        with mmap.mmap(descriptor, 0) as memory:
            child = os.fork()
            if child == 0:
                memory[0] = 7
                os._exit(0)
            os.waitpid(child, 0)
            self.assertEqual(memory[0], 7)

    def test_shared_for_reading(self):
        self.write("a", "text")
        with open("a", "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
            self.assertEqual(memory[:], b"text")

    def test_program(self):
        shutil.copy("/bin/true", "program")
        self.assertEqual(subprocess.call(["./program"]), 0)
        self.write("script", "#!/bin/sh\nexit 7\n")
        os.chmod("script", 0o755)
        self.assertEqual(subprocess.call(["./script"]), 7)


class Attributes(Case):
    def test_trusted(self):
        self.write("a")
        os.setxattr("a", "trusted.test", b"x")
        self.assertEqual(os.getxattr("a", "trusted.test"), b"x")
        self.assertIn("trusted.test", os.listxattr("a"))
        self.refused(errno.EEXIST, os.setxattr, "a", "trusted.test", b"y", os.XATTR_CREATE)
        os.removexattr("a", "trusted.test")
        self.refused(errno.ENODATA, os.getxattr, "a", "trusted.test")

    @since(6, 6, "user attributes on tmpfs")
    def test_user(self):
        self.write("a")
        os.mkdir("d")
        for name in ("a", "d"):
            os.setxattr(name, "user.test", b"x" * 1000)
            self.assertEqual(os.getxattr(name, "user.test"), b"x" * 1000)

    def test_security(self):
        self.write("a")
        # cap_net_raw+ep, as setcap(8) writes it.
        value = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
        os.setxattr("a", "security.capability", value)
        self.assertEqual(os.getxattr("a", "security.capability"), value)

    @unittest.skipUnless(has_access_control_lists(), "the kernel has no CONFIG_TMPFS_POSIX_ACL")
    def test_access_control_lists(self):
        self.write("a")
        os.chmod("a", 0o600)
        # Version 2; user::rw-, user:65534:r--, group::---, mask::r--, other::---
        entries = [(1, 6, -1), (2, 4, 65534), (4, 0, -1), (16, 4, -1), (32, 0, -1)]
        value = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
        os.setxattr("a", "system.posix_acl_access", value)
        self.assertEqual(os.getxattr("a", "system.posix_acl_access"), value)
        os.chmod(".", 0o755)
        with self.nobody():
            self.assertEqual(self.read("a"), "x")


class Locks(Case):
    HOLDER = """
import fcntl, os, sys
file = open("a", "r+")
getattr(fcntl, sys.argv[1])(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""

    def held(self, function):
        self.write("a")
        process = subprocess.Popen(
            [sys.executable, "-c", self.HOLDER, function],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        try:
            self.assertEqual(process.stdout.readline(), b"locked\n")
            with open("a", "r+") as file:
                self.refused(
                    errno.EAGAIN, getattr(fcntl, function), file, fcntl.LOCK_EX | fcntl.LOCK_NB
                )
                process.stdin.close()
                process.wait()
                getattr(fcntl, function)(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            process.stdin.close()
            process.stdout.close()
            process.kill()
            process.wait()

    def test_flock(self):
        self.held("flock")

    def test_record_locks(self):
        self.held("lockf")

    def test_open_file_description_locks(self):
        one = self.opened("a", os.O_CREAT | os.O_RDWR)
        two = self.opened("a", os.O_RDWR)
        lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)
        fcntl.fcntl(one, 37, lock)
        self.refused(errno.EAGAIN, fcntl.fcntl, two, 37, lock)

    def test_leases(self):
        self.write("a")
        descriptor = self.opened("a", os.O_RDONLY)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)


class Watches(Case):
    def events(self, act):
        descriptor = call("inotify_init1", os.O_NONBLOCK)
        self.addCleanup(self.close, descriptor)
        call("inotify_add_watch", descriptor, b".", 0xFFF)
        act()
        ready, _, _ = select.select([descriptor], [], [], 10)
        return os.read(descriptor, 65536) if ready else b""

    def test_a_new_file(self):
        self.assertIn(b"new", self.events(lambda: self.write("new")))

    def test_a_change(self):
        self.write("old")
        self.assertIn(b"old", self.events(lambda: self.write("old", "text")))

    def test_a_removal(self):
        self.write("old")
        self.assertIn(b"old", self.events(lambda: os.unlink("old")))


class Databases(Case):
    def journal(self, mode):
        with contextlib.closing(sqlite3.connect("db", timeout=30)) as one:
            self.assertEqual(
                one.execute("pragma journal_mode=" + mode).fetchone(), (mode,)
            )
            one.execute("create table t(a)")
            one.executemany("insert into t values(?)", [(n,) for n in range(1000)])
            one.commit()
            with contextlib.closing(sqlite3.connect("db", timeout=30)) as two:
                self.assertEqual(two.execute("select count(*) from t").fetchone(), (1000,))
                two.execute("delete from t where a < 10")
                two.commit()
            self.assertEqual(one.execute("select count(*) from t").fetchone(), (990,))
            self.assertEqual(one.execute("pragma integrity_check").fetchone(), ("ok",))

    def test_sqlite(self):
        self.journal("delete")

    def test_sqlite_with_a_log(self):
        self.journal("wal")

    def test_sqlite_in_memory_maps(self):
        with contextlib.closing(sqlite3.connect("db")) as one:
            one.execute("pragma mmap_size=1000000")
            one.execute("create table t(a)")
            one.execute("insert into t values(1)")
            one.commit()
            self.assertEqual(one.execute("select * from t").fetchone(), (1,))

    def test_dbm(self):
        import dbm.dumb

        with dbm.dumb.open("db", "c") as base:
            base["key"] = "value"
        with dbm.dumb.open("db", "r") as base:
            self.assertEqual(base["key"], b"value")


class Programs(Case):
    def test_temporary_files(self):
        with tempfile.NamedTemporaryFile(dir=".") as file:
            file.write(b"x")
            file.flush()
            self.assertEqual(self.read(file.name), "x")
        with tempfile.TemporaryFile(dir=".") as file:
            file.write(b"text")
            file.truncate(2)
            file.seek(0)
            self.assertEqual(file.read(), b"te")
        with tempfile.SpooledTemporaryFile(max_size=1, dir=".") as file:
            file.write(b"text")
            file.seek(0)
            self.assertEqual(file.read(), b"text")

    def test_tree_copy_and_removal(self):
        os.makedirs("a/b/c")
        for number in range(20):
            self.write("a/b/f%d" % number)
        os.symlink("b", "a/l")
        shutil.copytree("a", "d", symlinks=True)
        self.assertEqual(len(os.listdir("d/b")), 21)
        shutil.rmtree("a")
        shutil.move("d", "e")
        self.assertEqual(os.listdir("."), ["e"])


if __name__ == "__main__":
    unittest.main()
