import os
import signal
import time

from terminal import child, home, shell, type, until

shell('"$@"; echo stopped $?; read x; fg; echo ended $?')
until(b"out")
os.kill(child(), signal.SIGTSTP)
until(b"stopped 148")
time.sleep(4)
open(home + "/now", "w").close()
type(b"\n")
until(b"ended 42")
