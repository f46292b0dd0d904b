#!/usr/bin/env python3
"""Loads the kernel that a crash of this one starts.

    load_capture_kernel.py NUMBER IMAGE INITRAMFS [PARAMETER]...

NUMBER is that of the system call kexec_file_load(2) on this architecture. The
command line of the new kernel is that of this one without ``crashkernel=``, so
that it does not set memory aside in turn, and with the PARAMETERs. An empty INITRAMFS
is none.

If the kernel refuses, one line on standard error says why, and the exit status
is 1.

One file, Python 3.6 or newer, standard library only: it runs with whatever
interpreter the tests run with, so that no program has to be installed for it.
"""

import contextlib
import ctypes
import errno
import os
import sys

# <linux/kexec.h>
KEXEC_FILE_ON_CRASH = 0x2
KEXEC_FILE_NO_INITRAMFS = 0x4

# What the memory for it is, in bytes; not there without CONFIG_KEXEC_CORE.
RESERVED = "/sys/kernel/kexec_crash_size"

# What these errors mean here: kexec_file_load(2), and the kernel's kernel/kexec_file.c.
REASONS = {
    errno.ENOSYS: "was this kernel built with CONFIG_KEXEC_FILE=y?",
    errno.EPERM: "it is locked down, or kernel.kexec_load_disabled is set",
    errno.EADDRNOTAVAIL: "the memory that crashkernel= reserves is too small for it",
    errno.ENOEXEC: "it is no image that this kernel can start",
    errno.ENOMEM: "there is no memory left",
}


def command_line(current, parameters):
    """The command line of the capture kernel, from that of this kernel."""
    words = [word for word in current.split(" ") if not word.startswith("crashkernel=")]
    return " ".join(words + parameters)


def load(number, image, initramfs, line):
    """Loads an image, with an initramfs if there is one; raises OSError."""
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long
    text = os.fsencode(line)
    flags = KEXEC_FILE_ON_CRASH
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open(image, "rb"))
        number_of_initramfs = -1
        if initramfs:
            number_of_initramfs = stack.enter_context(open(initramfs, "rb")).fileno()
        else:
            flags |= KEXEC_FILE_NO_INITRAMFS
        failed = syscall(
            ctypes.c_long(number),
            ctypes.c_int(file.fileno()),
            ctypes.c_int(number_of_initramfs),
            # The length of the text counts the NUL at its end.
            ctypes.c_ulong(len(text) + 1),
            ctypes.c_char_p(text),
            ctypes.c_ulong(flags),
        )
    if failed:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def reserved():
    """The bytes that this kernel has set aside; None if it does not say."""
    try:
        with open(RESERVED) as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def main():
    number, image, initramfs = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    parameters = sys.argv[4:]
    if reserved() == 0:
        sys.stderr.write(
            "no memory is reserved for a capture kernel: crashkernel= is missing, or "
            "there was no room for it\n"
        )
        return 1
    # A path on the command line may have any bytes.
    with open("/proc/cmdline", encoding="utf-8", errors="surrogateescape") as file:
        current = file.read().rstrip("\n")
    try:
        load(number, image, initramfs, command_line(current, parameters))
    except OSError as error:
        reason = REASONS.get(error.errno)
        sys.stderr.write(
            "the kernel does not take {} as its capture kernel: {}{}\n".format(
                image, error.strerror, "; " + reason if reason else ""
            )
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
