import os
import unittest


class A(unittest.TestCase):
    def test_a(self):
        self.assertNotIn('hidden', repr(os.environ))
