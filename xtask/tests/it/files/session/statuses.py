import os
import signal
import time
import unittest

KERNEL = os.environ["VMTEST_KERNEL"].split("-")[0]


class A(unittest.TestCase):
    def test_a(self):
        if KERNEL == '6.1.1':
            self.fail()
        if KERNEL == '6.2.1':
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
        if KERNEL == '6.3.1':
            os._exit(0)


if KERNEL == '6.4.1':
    del A
