import os
import signal
import time

from terminal import child, come, shell, type, until

shell('"$@"; echo stopped $?; bg; echo behind; read x; fg; echo ended $?')
until(b"preparing")
os.kill(child(), signal.SIGTSTP)
until(b"stopped 148")
until(b"behind")
time.sleep(1.5)
assert b"preparing" not in come(), come()
type(b"\n")
until(b"preparing")
type(b"\x03")
until(b"ended 130")
