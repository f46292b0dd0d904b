import os
import time
import unittest


class A(unittest.TestCase):
    def test_alone(self):
        os.mkdir('lock')
        time.sleep(0.3)
        os.rmdir('lock')
