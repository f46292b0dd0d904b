import os
import signal
import time
import unittest

KERNEL = os.environ["VMTEST_KERNEL"].split("-")[0]


class A(unittest.TestCase):
    def test_a(self):
        name = 'tried-' + KERNEL
        count = len(open(name).read()) if os.path.exists(name) else 0
        open(name, 'a').write('x')
        if KERNEL == '6.1.1' and count < 2:
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
        if KERNEL == '6.2.1':
            self.fail()
