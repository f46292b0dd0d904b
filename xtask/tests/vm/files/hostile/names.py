import os, unittest

class A(unittest.TestCase):
    def test_output(self):
        for stream in (1, 2):
            os.write(stream, bytes(range(256)) + b"\xf0\x9f\n")

# Names that a terminal or a file of results must not be given as they are.
def fails(self):
    self.fail("\x1b[2J \udcff \x00 \u202e")

setattr(A, "test_\x1b[31m\r\n\x00\udcff", lambda self: None)
setattr(A, "test_\x1b]0;title\x07", fails)
