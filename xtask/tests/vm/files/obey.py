"""Runs each line of standard input as Python and prints what `answer` is then, as a line."""
import mmap, os, sys
os.chdir(sys.argv[1])
names = {'os': os, 'mmap': mmap}
for line in sys.stdin:
    names['answer'] = None
    exec(line, names)
    print(names['answer'], flush=True)
