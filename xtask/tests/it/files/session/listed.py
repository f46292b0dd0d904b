import os
import unittest

KERNEL = os.environ["VMTEST_KERNEL"].split("-")[0]


class A(unittest.TestCase):
    def test_a(self):
        self.assertEqual(KERNEL, '6.1.1')

    def test_b(self):
        pass
