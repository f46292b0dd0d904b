import os
import struct
import unittest


class A(unittest.TestCase):
    def test_it(self):
        # The dump is an ELF core file of the kernel that has crashed: elf(5), `ET_CORE`. And
        # less memory means a smaller overlay.
        with open('/proc/vmcore', 'rb') as file:
            head = file.read(64)
        self.assertEqual(head[:6], b'\x7fELF\x02\x01')
        self.assertEqual(struct.unpack_from('<H', head, 16), (4,))
        with open('/proc/cmdline') as file:
            words = file.read().split()
        self.assertIn('nokaslr', words)
        self.assertFalse([word for word in words if word.startswith('crashkernel=')])
        memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
        self.assertLess(memory, 256 << 20)
        overlay = os.statvfs('/')
        self.assertLess(overlay.f_blocks * overlay.f_frsize, memory)
