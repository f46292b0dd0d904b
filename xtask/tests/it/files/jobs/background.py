import time

from terminal import home, is_raw, shell, type, until

shell('"$@" & wait $!; echo ended $?')
until(b"out")
assert not is_raw()
# For the shell, not for us.
type(b"typed\n")
time.sleep(0.3)
open(home + "/now", "w").close()
until(b"ended 42")
