import os
import time
import unittest

KERNEL = os.environ["VMTEST_KERNEL"].split("-")[0]


class A(unittest.TestCase):
    def test_meet(self):
        open('here-' + KERNEL, 'w').close()
        end = time.monotonic() + 60
        while len([name for name in os.listdir() if name.startswith('here-')]) < 3:
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)
