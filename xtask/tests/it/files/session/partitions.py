import os
import unittest

KERNEL = os.environ["VMTEST_KERNEL"].split("-")[0]


class A(unittest.TestCase):
    def test_a(self):
        self.assertLess(KERNEL, '6.3')

    def test_b(self):
        if KERNEL == '6.2.1': self.skipTest('not there')

    def test_c(self):
        pass
