import os
import unittest

KERNEL = os.environ["VMTEST_KERNEL"].split("-")[0]


class A(unittest.TestCase):
    def test_a(self):
        self.assertNotEqual(KERNEL, '6.1.1')
