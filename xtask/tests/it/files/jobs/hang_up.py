from terminal import command, ends_with, hang_up, home, start, takes_keys, until, wait_for

part = open(home + "/part").read()
start(command)
if part == "silent":
    wait_for(takes_keys)
else:
    until(b"ready" if part == "terminal" else b"out")
hang_up()
ends_with(129)
