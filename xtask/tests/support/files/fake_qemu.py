"""QEMU, as far as `vm` sees it: connects the ports, then plays the part in $HOME/part."""
import json, os, re, socket, sys, time
if "--version" in sys.argv:
    print("QEMU emulator version 7.2.22 (fake)")
    sys.exit(0)
part = os.environ["HOME"] + "/part"
part = open(part).read()
if part == "refuse":
    sys.stderr.write("qemu-system-x86_64: warning: it is hot\n")
    sys.stderr.write("qemu-system-x86_64: the disk is on fire\nmore\n")
    sys.exit(1)
if part == "deaf":
    time.sleep(1000)
ports = {}
mark = None
for word in sys.argv:
    found = re.match(r"socket,id=\w+,path=(.*)/(vmtest\.\w+)$", word)
    if found:
        ports[found[2]] = socket.socket(socket.AF_UNIX)
        ports[found[2]].connect(found[1] + "/" + found[2])
        init = open(found[1] + "/init").read()
        mark = re.search("vmtest_mark='(\\w+)'", init)[1].encode()
    found = re.match(r"file,id=console,path=(.*)$", word)
    if found:
        console = open(found[1], "w")
if "-S" in sys.argv:
    # Somebody could call.
    where = [re.search(r"^socket,id=gdb,path=(.*),server=on,wait=off$", w) for w in sys.argv]
    stub = socket.socket(socket.AF_UNIX)
    stub.bind([w[1] for w in where if w][0].replace(",,", ","))
if part == "no console":
    time.sleep(1000)
console.write("[    0.0] Linux version 6.1.0\r\n")
console.flush()
def status(text):
    ports["vmtest.status"].sendall(text)
def verdict(phase, code):
    for name in "stdout", "stderr", "events", "kernel":
        ports["vmtest." + name].sendall(mark)
    status(b"exit %s %d\n" % (phase, code))
def finish(code):
    verdict(b"main", code)
    time.sleep(1000)
if part == "no root":
    console.write("vmtest: cannot mount the root\n[    0.1] Kernel panic - not syncing: x\n")
    console.flush()
    time.sleep(1000)
if part == "silent":
    time.sleep(1000)
status(b"hello main 0.50 0.25\n")
if part == "init lies":
    status(b"fail a\x1b[31m\xc2\x9b\r\x00b\n")
    time.sleep(1000)
if part == "init fails":
    status(b"fail cannot mount tmpfs on /run\n")
    time.sleep(1000)
status(b"started 0.75\n")
# The test t.A.a, which changes with the kernels.
found = re.match(r"(\w+), from (\d+)\.(\d+) on (\w+)$", part)
if found:
    image = sys.argv[sys.argv.index("-kernel") + 1]
    kernel = [int(n) for n in re.search(r"kernel-(\d+)\.(\d+)", image).groups()]
    with open(os.environ["HOME"] + "/ran", "a") as ran:
        ran.write("%d.%d\n" % tuple(kernel))
    outcome = found[4 if kernel >= [int(found[2]), int(found[3])] else 1]
    if outcome == "panic":
        console.write("[    1.1] Kernel panic - not syncing: no root\n")
        console.flush()
        sys.exit(0)
    for event in (
        {"event": "run-started", "tests": 1},
        {"event": "test-started", "id": "t.A.a"},
        {"event": "test-finished", "id": "t.A.a", "outcome": outcome, "seconds": 0.1},
        {"event": "run-finished", "counts": {outcome: 1}, "seconds": 0.1},
    ):
        event["v"] = 1
        ports["vmtest.events"].sendall(json.dumps(event).encode() + b"\n")
    finish(1 if outcome == "failed" else 0)
if part == "terminal":
    # A program that says how large its terminal has become.
    ports["vmtest.terminal"].sendall(b"ready\r\n")
    for line in ports["vmtest.status"].makefile("rb"):
        ports["vmtest.terminal"].sendall(b"told " + line)
    time.sleep(1000)
ports["vmtest.stdout"].sendall(b"out\n")
ports["vmtest.stderr"].sendall(b"err\n")
if part == "good":
    finish(42)
if part == "complains":
    ports["vmtest.kernel"].sendall(b"<4>[    1.0] WARNING: CPU: 0 PID: 1 at kernel/x.c:1 f+0x1\n")
    finish(0)
found = re.match(r"halves (\d+)$", part)
if found:
    # A line whose second half comes when so many VMs have sent the first one.
    streams = ports["vmtest.stdout"], ports["vmtest.stderr"]
    for stream in streams:
        stream.sendall(b"first half, ")
    open("%s/half-%d" % (os.environ["HOME"], os.getpid()), "w").close()
    while sum(n.startswith("half-") for n in os.listdir(os.environ["HOME"])) < int(found[1]):
        time.sleep(0.02)
    for stream in streams:
        stream.sendall(b"second half\n")
    finish(0)
if part == "late":
    # Until somebody says so.
    while not os.path.exists(os.environ["HOME"] + "/now"):
        time.sleep(0.02)
    finish(42)
# A command itself, on this host: what a guest would do with it.
def run(function, **environment):
    import subprocess, tempfile
    command = r"^vmtest_" + function + r"\(\) \{\n\t:\n(.*?)^\}$"
    command = re.search(command, init, re.S | re.M)[1]
    command = re.sub(r"'[^']*/busybox' env", "/usr/bin/env", command)
    command = re.sub(r"'[^']*/busybox' setsid", "", command)
    directory = re.search("vmtest_directory='(.*)'", init)[1]
    with tempfile.NamedTemporaryFile() as events:
        command = command.replace("/run/vmtest/events", events.name)
        out, err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        for pair in environment.items():
            command = command.replace("env -i", "env -i %s=%s" % pair)
        journal = events.name + ".journal"
        for start in range(30):
            child = subprocess.Popen(["/bin/sh", "-c", command], cwd=directory, stdout=out, stderr=err)
            ended = False
            while not ended:
                ended = child.poll() is not None
                ports["vmtest.events"].sendall(events.read())
                time.sleep(0.01)
            if not os.path.exists(journal) or os.path.getsize(journal) == 0:
                break
            with open(journal, "a") as file:
                status = child.returncode
                file.write('\n{"status":%d}\n' % (status if status >= 0 else 128 - status))
        for file, name in (out, "stdout"), (err, "stderr"):
            file.seek(0)
            ports["vmtest." + name].sendall(file.read())
    return child.returncode & 255
if part == "run":
    with open(os.environ["HOME"] + "/appended", "a") as appended:
        appended.write(sys.argv[sys.argv.index("-append") + 1] + "\n")
    verdict(b"main", run("command"))
    if "vmtest_crash_command" not in init:
        time.sleep(1000)
    assert ports["vmtest.status"].makefile().readline() == "crash\n"
    # What comes of the crash, one word for each: HOME/crash.
    with open(os.environ["HOME"] + "/crashes", "a+") as crashes:
        crashes.seek(0)
        count = len(crashes.readlines())
        crashes.write("crash\n")
    crash = open(os.environ["HOME"] + "/crash").read().split()[count]
    if crash == "refused":
        status(b"fail no memory is reserved\n")
        time.sleep(1000)
    if crash == "gone":
        sys.exit(0)
    if run("crash_select") == 5:
        status(b"nothing crash\n")
        time.sleep(1000)
    status(b"crashing\n")
    ports["vmtest.stdout"].sendall(b"after the end")
    console.write("[    9.1] Kernel panic - not syncing: sysrq triggered crash\n")
    console.flush()
    if crash == "reset":
        sys.exit(0)
    if crash == "hang":
        time.sleep(1000)
    # The capture kernel boots from the same file.
    for word in sys.argv:
        found = re.match(r"socket,id=\w+,path=(.*)/vmtest.status$", word)
        init = open(found[1] + "/init").read() if found else init
    console.write("[    0.0] Linux version 6.1.0\n")
    if crash == "panic":
        console.write("[    0.1] Kernel panic - not syncing: no root\n")
        console.flush()
        sys.exit(0)
    status(b"hello crash\nstarted\n")
    for name in "stdout", "stderr", "events", "kernel":
        ports["vmtest." + name].sendall(mark)
    verdict(b"crash", run("crash_command", DUMP=1))
    time.sleep(1000)
if part == "gone":
    sys.exit(0)
if part == "killed":
    os.kill(os.getpid(), 9)
if part == "panic":
    console.write("[    1.0] BUG: kernel NULL pointer dereference, address: 0\n")
    console.write("[    1.1] Kernel panic - not syncing: Fatal exception\n")
    console.flush()
    sys.exit(0)
if part.startswith("dump"):
    # QEMU's monitor: greets, takes commands, tells that the guest has stopped.
    import struct
    monitor = ports["vmtest.monitor"]
    def say(value):
        monitor.sendall(json.dumps(value).encode() + b"\r\n")
    say({"QMP": {"version": {}}})
    commands = monitor.makefile()
    assert json.loads(commands.readline())["execute"] == "qmp_capabilities"
    say({"return": {}})
    if part == "dump dies":
        status(b"vmcoreinfo 0x1000 100\n")
    console.write("[    1.1] Kernel panic - not syncing: Fatal exception\n")
    console.flush()
    say({"event": "SHUTDOWN", "data": {"guest": True, "reason": "guest-reset"}})
    command = json.loads(commands.readline())
    arguments = command["arguments"]
    assert command["execute"] == "dump-guest-memory" and not arguments["paging"]
    if part == "dump refused":
        say({"id": command["id"], "error": {"desc": "there is no zlib"}})
        time.sleep(1000)
    kdump = b"KDUMP   ".ljust(428, b"\0") + struct.pack("<I", 4096)
    kdump = kdump.ljust(9000, b"\0")
    with open(arguments["protocol"][len("file:"):], "wb") as out:
        out.write(b"makedumpfile\0\0\0\0" + struct.pack(">qq", 1, 1) + bytes(4096 - 32))
        for start in range(0, len(kdump), 100):
            piece = kdump[start : start + 100]
            out.write(struct.pack(">qq", start, len(piece)) + piece)
            out.flush()
        if part == "dump dies":
            sys.exit(0)
        out.write(struct.pack(">qq", -1, -1))
    say({"id": command["id"], "return": {}})
    time.sleep(1000)
if part == "garbage":
    status(bytes(range(256)) * 100 + b"\nexit main 999\nexit\n" + b"\xff" * 100000)
    console.write("\0\x1b[2J" * 1000)
    ports["vmtest.stdout"].sendall(mark[:-1])
    sys.exit(0)
if part == "verdict without marks":
    status(b"exit main 0\n")
    sys.exit(0)
if part == "mark without verdict":
    for name in "stdout", "stderr", "events", "kernel":
        ports["vmtest." + name].sendall(mark)
    sys.exit(0)
if part == "hang":
    time.sleep(1000)
if part == "chatter":
    while True:
        ports["vmtest.stdout"].sendall(b".")
        time.sleep(0.05)
