import os, unittest

class A(unittest.TestCase):
    def test_1_closes(self):
        os.closerange(0, 65536)

    def test_2_after(self):
        print("to nobody")
