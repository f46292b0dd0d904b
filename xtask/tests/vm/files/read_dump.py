"""Prints the kernel's release, which says that the dump and the symbols fit, and the
names of all tasks."""
import drgn, sys
from drgn.helpers.linux.pid import for_each_task
prog = drgn.Program()
prog.set_core_dump(sys.argv[1])
prog.load_debug_info([sys.argv[2]])
print(prog['init_uts_ns'].name.release.string_().decode())
for task in for_each_task(prog):
    print(task.comm.string_().decode())
try:
    print(prog.crashed_thread().stack_trace())
except Exception as error:
    print(error)
