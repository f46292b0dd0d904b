import unittest

def setUpModule():
    raise OSError("no such thing")

class A(unittest.TestCase):
    def test_1(self):
        pass

    def test_2(self):
        pass
