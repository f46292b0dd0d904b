import signal
import subprocess
import time

from terminal import command, home

words = ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh"] + command
child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
assert child.stdout.readline() == b"out\n"
child.send_signal(signal.SIGHUP)
time.sleep(0.3)
open(home + "/now", "w").close()
assert child.wait() == 42
