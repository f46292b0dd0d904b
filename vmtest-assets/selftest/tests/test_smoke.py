import unittest
class Smoke(unittest.TestCase):
    def test_it(self):
        pass
