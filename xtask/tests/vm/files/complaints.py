import os
import subprocess
import unittest


def complain(what):
    subprocess.check_call(["insmod", os.environ["COMPLAIN"], f"what={what}"])
    subprocess.check_call(["rmmod", "complain"])


class A(unittest.TestCase):
    def test_1_good(self):
        pass

    def test_2_warning(self):
        complain("warning")

    def test_3_between(self):
        pass

    def test_4_refcount(self):
        complain("refcount")

    def test_5_atomic(self):
        complain("atomic")

    def test_6_words(self):
        complain("words")
        words = [
            "WARNING: CPU: 1 PID: 80 at m.c:1 f+0x1/0x2",
            "BUG: KASAN: slab-out-of-bounds in f+0x1/0x2",
            "<2>kernel BUG at m.c:1!",
            "------------[ cut here ]------------\nWARNING: x",
        ]
        for line in words:
            with open("/dev/kmsg", "w") as kmsg:
                kmsg.write(line)
            with open("/dev/console", "w") as console:
                console.write(f"\n{line}\n")
            print(line)

    def test_7_good(self):
        pass
