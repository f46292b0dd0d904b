import unittest


class A(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.number = 7

    def test_a(self): self.assertEqual(self.number, 7)

    def test_b(self): self.fail('b')


class B(unittest.TestCase):
    def test_a(self): self.skipTest('no')

    @unittest.expectedFailure
    def test_b(self): self.fail()


class C(unittest.TestCase):
    @classmethod
    def setUpClass(cls): raise unittest.SkipTest('none of it')

    def test_a(self): pass


class D(unittest.TestCase):
    def test_a(self):
        for n in range(3):
            with self.subTest(n): self.assertNotEqual(n, 1)
