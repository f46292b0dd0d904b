import os
import unittest


def ran(name):
    # Where each test was run is written down.
    with open('ran', 'a') as file:
        file.write(name + '\n')


@unittest.skipUnless('DUMP' in os.environ, 'there is no dump')
class D(unittest.TestCase):
    def test_d(self):
        ran('d')
        self.assertFalse(os.path.exists('fail'), 'the dump is torn')
