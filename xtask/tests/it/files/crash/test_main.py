import os
import signal
import unittest


def ran(name):
    # Where each test was run is written down.
    with open('ran', 'a') as file:
        file.write(name + '\n')


class A(unittest.TestCase):
    def test_a(self):
        ran('a')
        if os.path.exists('kill'):
            os.kill(os.getppid(), signal.SIGKILL)


class B(unittest.TestCase):
    def test_b(self): pass
