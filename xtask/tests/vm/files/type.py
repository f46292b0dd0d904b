"""Takes a program, its arguments, and in front of them a list of pairs: what to wait for
and what to type then. Prints what came, the exit status as a shell has it, and whether
the terminal is as it was."""
import fcntl, json, os, pty, select, signal, struct, sys, termios, time
steps = [[word.encode() for word in step] for step in json.loads(sys.argv[1])]
pid, fd = pty.fork()
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', 33, 101, 0, 0))
before = termios.tcgetattr(fd)
seen = b''
at = 0
end = time.monotonic() + 120
while time.monotonic() < end:
    if select.select([fd], [], [], 1)[0]:
        try:
            data = os.read(fd, 4096)
        except OSError:
            break
        if not data:
            break
        seen += data
    if steps and steps[0][0] in seen[at:]:
        expected, typed = steps.pop(0)
        at = seen.index(expected, at) + len(expected)
        os.write(fd, typed)
else:
    os.kill(pid, signal.SIGKILL)
after = termios.tcgetattr(fd)
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.stdout.buffer.write(seen)
print('\nstatus', status if status >= 0 else 128 - status)
print('restored', before == after)
print('typed', not steps)
