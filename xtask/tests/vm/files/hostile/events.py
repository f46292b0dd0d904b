import errno, glob, os, unittest

class A(unittest.TestCase):
    def test_1_port(self):
        # Each can be opened once, and has been.
        devices = glob.glob("/dev/vport*")
        self.assertGreaterEqual(len(devices), 4)
        for device in devices:
            with self.assertRaises(OSError) as caught:
                open(device, "wb", buffering=0)
            self.assertEqual(caught.exception.errno, errno.EBUSY)

    def test_2_pipe(self):
        with open("/run/vmtest/events", "wb", buffering=0) as events:
            events.write(b"one line\n\0\xff\n{\"v\":1}\n no end")

    def test_3_after(self):
        pass
