"""What the scripts beside this have in common. `shell(script)` runs it with job control on a
new terminal; in it, "$@" is the command."""
import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time

home, command = sys.argv[1], sys.argv[2:]
seen = b""


def start(words):
    global pid, fd
    pid, fd = pty.fork()
    if pid == 0:
        # Tests that nohup(1) runs ignore it, and so would their children.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.execvp(words[0], words)


def shell(script):
    start(["bash", "--norc", "-m", "-c", script, "bash"] + command)


def until(text):
    # What came before it is not looked at again.
    global seen
    end = time.monotonic() + 60
    while text not in seen:
        assert time.monotonic() < end, (text, seen)
        if select.select([fd], [], [], 0.2)[0]:
            try:
                seen += os.read(fd, 4096)
            except OSError:
                assert text in seen, (text, seen)
    seen = seen[seen.index(text) + len(text):]


def come():
    # What has come, for until().
    global seen
    while select.select([fd], [], [], 0)[0]:
        seen += os.read(fd, 4096)
    return seen


def type(text):
    os.write(fd, text)


def child():
    # The shell's: the command, which is not executed but forked.
    return int(open("/proc/%d/task/%d/children" % (pid, pid)).read().split()[0])


def is_raw():
    return not termios.tcgetattr(fd)[3] & (termios.ICANON | termios.ECHO)


def takes_keys():
    return not termios.tcgetattr(fd)[3] & termios.ICANON


def wait_for(what):
    end = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def resize(rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def hang_up():
    os.close(fd)


def ends_with(expected):
    ended = []
    def has_ended():
        ended[:] = os.waitpid(pid, os.WNOHANG)
        return ended[0] == pid
    wait_for(has_ended)
    status = os.waitstatus_to_exitcode(ended[1])
    assert status == expected, status
