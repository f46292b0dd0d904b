"""Tests of what loads a capture kernel, as far as they need no kernel that does."""

import subprocess
import sys
import tempfile
import unittest

from test_run_unittests import RUNNER

LOADER = RUNNER.parent / "load_capture_kernel.py"
sys.path.insert(0, str(RUNNER.parent))
import load_capture_kernel


class CommandLine(unittest.TestCase):
    def check(self, current, expected):
        line = load_capture_kernel.command_line(current, ["nokaslr", "a=b"])
        self.assertEqual(line, expected)

    def test_memory_is_not_set_aside_again(self):
        self.check("ro crashkernel=256M x=1", "ro x=1 nokaslr a=b")
        self.check("crashkernel=1M ro crashkernel=512M,high", "ro nokaslr a=b")
        self.check("xcrashkernel=1", "xcrashkernel=1 nokaslr a=b")

    def test_what_is_quoted_stays(self):
        self.check('ro "init=/a b  c/init"', 'ro "init=/a b  c/init" nokaslr a=b')


class Refusal(unittest.TestCase):
    # No system call has this number.
    NUMBER = "1000000"

    def run_loader(self, image, initramfs=""):
        process = subprocess.run(
            [sys.executable, "-B", "-I", "-S", str(LOADER), self.NUMBER, image, initramfs, "nokaslr"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )
        self.assertEqual(process.returncode, 1)
        self.assertEqual(process.stdout, b"")
        return process.stderr.decode()

    def test_one_line_says_why(self):
        with tempfile.NamedTemporaryFile() as image:
            text = self.run_loader(image.name)
        self.assertEqual(text.count("\n"), 1, text)
        # This host may have set no memory aside, which is looked at first.
        self.assertRegex(text, "CONFIG_KEXEC_FILE=y|no memory is reserved")

    def test_an_image_that_is_not_there(self):
        for words in ("/no/image",), (sys.executable, "/no/initramfs"):
            text = self.run_loader(*words)
            self.assertRegex(text, "No such file or directory|no memory is reserved")


if __name__ == "__main__":
    unittest.main()
