"""The sample suite of frameworks.rs for unittest."""

import os
import time
import unittest


class Sample(unittest.TestCase):
    def test_passes(self):
        pass

    @unittest.skip("not here")
    def test_skips(self):
        pass

    def test_changes(self):
        version = tuple(map(int, os.uname().release.split(".")[:2]))
        self.assertLess(version, (6, 6))

    def test_waits(self):
        time.sleep(1)

    def test_nests(self):
        for n in range(2):
            with self.subTest(n=n):
                pass
