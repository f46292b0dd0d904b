import os
import signal

from terminal import child, is_raw, resize, shell, type, until, wait_for

again = 'echo stopped $?; read x; fg; '
shell('"$@"; ' + again + again + 'echo ended $?')
until(b"ready")
wait_for(is_raw)
os.kill(child(), signal.SIGTSTP)
# We end up stopped by SIGSTOP, when the terminal is in order.
until(b"stopped 147")
assert not is_raw()
resize(50, 120)
type(b"\n")
until(b"told size 120 50")
wait_for(is_raw)
# That cannot be noticed before.
os.kill(child(), signal.SIGSTOP)
until(b"stopped 147")
resize(20, 60)
type(b"\n")
until(b"told size 60 20")
wait_for(is_raw)
type(b"\x01x")
until(b"ended 130")
assert not is_raw()
