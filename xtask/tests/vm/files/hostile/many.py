import unittest

class A(unittest.TestCase):
    pass

for n in range(10000):
    setattr(A, "test_{:05}".format(n), lambda self: None)
