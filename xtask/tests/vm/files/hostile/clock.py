import time, unittest

class A(unittest.TestCase):
    def set(self, year):
        # Some days after its beginning: the kernel wants no time before its own start.
        seconds = (year - 1970) * 365.25 * 86400 + 40 * 86400
        time.clock_settime(time.CLOCK_REALTIME, seconds)
        time.sleep(0.1)
        self.assertEqual(time.localtime().tm_year, year)

    def test_1970(self):
        self.set(1970)

    def test_2100(self):
        self.set(2100)

    def test_after(self):
        pass
